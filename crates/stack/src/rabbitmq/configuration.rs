//! The node's configuration file and environment.

use std::ffi::OsString;
use std::path::Path;

use crate::error::Error;
use crate::{find, port};

/// The node's name. The data belongs to this name, so it never changes.
pub(super) const NODE: &str = "commonplace@localhost";
/// The node's first user, an administrator.
pub(super) const USER: &str = "commonplace";
/// The management plugin provides the API that creates vhosts, and pages for operators.
pub(super) const PLUGINS: &str = "[rabbitmq_management].\n";

/// Fraction of the machine's memory above which the node stops reading from publishers.
pub(super) const MEMORY_WATERMARK: &str = "0.4";

/// The ports on 127.0.0.1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) management: u16,
    /// Between Erlang nodes.
    pub(super) distribution: u16,
    pub(super) epmd: u16,
}

impl Ports {
    pub(super) fn free() -> Result<Self, Error> {
        let [amqp, management, distribution, epmd] = port::free()?;
        Ok(Self { amqp, management, distribution, epmd })
    }
}

/// The text of `rabbitmq.conf`. The user and the password apply only if the data is new.
pub(super) fn render(ports: &Ports, password: &str) -> String {
    let Ports { amqp, management, .. } = ports;
    format!(
        "\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
default_user = {USER}
default_pass = {password}
default_vhost = /
loopback_users.{USER} = true
cluster_name = commonplace
# Enough to stop before the disk is full, and little enough for a small machine.
disk_free_limit.absolute = 64MB
vm_memory_high_watermark.relative = {MEMORY_WATERMARK}
# Everything goes to the one log that our starter keeps.
log.console = true
log.console.level = info
log.console.use_colors = off
log.file = false
"
    )
}

/// The complete environment of the node. It inherits nothing from this process or from the system's own node.
pub(super) fn environment(home: &Path, ports: &Ports) -> Vec<(&'static str, OsString)> {
    let inside = |name: &str| home.join(name).into_os_string();
    // This crate starts `epmd`, and only nodes on this machine may connect.
    let erlang = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}";
    vec![
        ("PATH", std::env::join_paths(find::search_path()).unwrap_or_default()),
        ("HOME", home.into()),
        ("LANG", "C.UTF-8".into()),
        ("ERL_EPMD_PORT", ports.epmd.to_string().into()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("ERL_CRASH_DUMP_SECONDS", "0".into()),
        // Makes the script exec the node instead of staying its parent.
        ("RUNNING_UNDER_SYSTEMD", "true".into()),
        ("RABBITMQ_NODENAME", NODE.into()),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string().into()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang.into()),
        // These three files do not exist, so the system's files are not read.
        ("RABBITMQ_CONF_ENV_FILE", inside("rabbitmq-env.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", inside("advanced.config")),
        ("RABBITMQ_CONFIG_FILES", inside("conf.d")),
        ("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", inside("mnesia")),
        ("RABBITMQ_LOG_BASE", home.into()),
        ("RABBITMQ_PID_FILE", inside("rabbitmq.pid")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", inside("generated")),
        ("RABBITMQ_PLUGINS_EXPAND_DIR", inside("generated/plugins")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_on_loopback() {
        let ports = Ports { amqp: 4001, management: 4002, distribution: 4003, epmd: 4004 };
        let text = render(&ports, "secret");
        for line in [
            "listeners.tcp.1 = 127.0.0.1:4001",
            "management.tcp.ip = 127.0.0.1",
            "management.tcp.port = 4002",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let environment = environment(Path::new("/home/of/it"), &ports);
        let value = |name| environment.iter().find(|(found, _)| *found == name).unwrap().1.to_str().unwrap();
        assert_eq!(value("ERL_EPMD_ADDRESS"), "127.0.0.1");
        assert_eq!(value("ERL_EPMD_PORT"), "4004");
        assert_eq!(value("RABBITMQ_DIST_PORT"), "4003");
        assert!(value("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS").contains("inet_dist_use_interface {127,0,0,1}"));
    }

    #[test]
    fn the_systems_own_node_shares_no_file_with_ours() {
        let home = Path::new("/home/of/it");
        for (name, value) in environment(home, &Ports::default()) {
            if name.ends_with("FILE")
                || name.ends_with("DIR")
                || name.ends_with("BASE")
                || name.ends_with("FILES")
            {
                assert!(Path::new(&value).starts_with(home), "{name} is {value:?}");
            }
        }
    }
}
