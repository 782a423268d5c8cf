//! Runs servers from images, for machines with a Docker engine but without the servers and `apt-get`.
//!
//! A container's client runs under a guard like a server, and the guard stops and removes the container. Ports are published
//! only on 127.0.0.1. Data is in a named volume, because the accounts inside the images do not exist on this machine.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use rand::distr::{Alphanumeric, SampleString};

use crate::error::{Doing, Error};
use crate::guard::last_lines;
use crate::home;

/// A container for one server directory.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// New for each start, so that the late removal of an earlier container cannot affect it.
    pub(crate) name: String,
    /// The same for each start: the name of the volume and the label of the containers.
    identity: String,
}

/// Whether an engine is running and accepts our requests.
pub(crate) fn answers() -> bool {
    Command::new("docker")
        .arg("info")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Pulls the image if it is missing.
pub(crate) fn pull(image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if run(&["image", "inspect", image], "inspect an image").is_ok() {
        return Ok(());
    }
    progress(&format!("pulling the image {image}"));
    run(&["pull", "--quiet", image], &format!("pull {image}")).map(drop)
}

impl Container {
    /// Creates a container for the server of this directory. Removes an earlier one of the same directory.
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        let identity = format!("commonplace-{}", home::name_elsewhere(directory));
        let filter = format!("label=commonplace={identity}");
        let earlier = run(&["ps", "--all", "--quiet", "--filter", &filter], "list containers")?;
        for id in earlier.split_whitespace() {
            run(&["rm", "--force", id], "remove an earlier container")?;
        }
        let name = format!("{identity}-{}", Alphanumeric.sample_string(&mut rand::rng(), 8));
        Ok(Self { name, identity })
    }

    /// Deletes the data of earlier runs.
    pub(crate) fn delete_data(&self) -> Result<(), Error> {
        run(&["volume", "rm", "--force", &self.identity], "delete the volume").map(drop)
    }

    /// Arguments for `docker` to run `image`. `data` is the path at which the image sees the volume. Each pair in `ports` is a
    /// port of this machine and the port of the image that is published on it. `variables` are passed on from the client's
    /// environment.
    pub(crate) fn run_arguments(
        &self,
        image: &str,
        data: &str,
        ports: &[(u16, u16)],
        variables: &[&str],
    ) -> Vec<OsString> {
        let mut arguments = vec!["run".to_owned(), "--rm".to_owned(), format!("--name={}", self.name)];
        arguments.push(format!("--label=commonplace={}", self.identity));
        arguments.push(format!("--volume={}:{data}", self.identity));
        // The engine's default of 64 MiB is too small for parallel queries.
        arguments.push("--shm-size=512m".to_owned());
        arguments.extend(ports.iter().map(|(ours, theirs)| format!("--publish=127.0.0.1:{ours}:{theirs}")));
        arguments.extend(variables.iter().map(|name| format!("--env={name}")));
        arguments.push(image.to_owned());
        arguments.into_iter().map(OsString::from).collect()
    }

    /// Runs a command inside the container and returns its output.
    pub(crate) fn output_of(&self, command: &[&str]) -> Result<String, Error> {
        run(&[&["exec", &self.name], command].concat(), "run a command in the container")
    }

    /// Kills the container.
    pub(crate) fn kill_9(&self) -> Result<(), Error> {
        run(&["kill", &self.name], "kill the container").map(drop)
    }
}

fn run(arguments: &[&str], doing: &str) -> Result<String, Error> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .doing(|| format!("run docker to {doing}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Docker { doing: doing.to_owned(), output: said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_on_loopback_only_and_secrets_stay_out_of_the_command_line() {
        let container = Container { name: "n".to_owned(), identity: "i".to_owned() };
        let arguments = container.run_arguments("image", "/data", &[(4001, 5432)], &["PASSWORD"]);
        let arguments: Vec<_> = arguments.iter().map(|part| part.to_str().unwrap()).collect();
        assert!(arguments.contains(&"--publish=127.0.0.1:4001:5432"));
        assert!(arguments.contains(&"--env=PASSWORD"));
        assert_eq!(arguments.last(), Some(&"image"));
    }
}
