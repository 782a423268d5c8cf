//! A headless browser for tests of pages: Chromium, driven by chromedriver (`WebDriver`) on a free port.
//!
//! Only the driver runs under the guard. It starts a browser for each session. Sessions must use [`Browser::ARGUMENTS`]; one of
//! them makes the driver use a pipe, so that a browser ends when its driver is gone.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::find::{self, BrowserPrograms};
use crate::guard::Guarded;
use crate::home::Home;
use crate::launch::{GRACE, Launch, Stop};
use crate::{port, provide};

const START_PATIENCE: Duration = Duration::from_secs(60);

/// A running driver. Dropping it stops the driver and the browsers it started.
#[derive(Debug)]
pub struct Browser {
    // Before the home, so that the driver is gone when the home's lock is released.
    driver: Guarded,
    port: u16,
    programs: BrowserPrograms,
    home: Home,
}

impl Browser {
    /// The browser's arguments in each session: headless; no sandbox, which does not work for root and which our own pages do
    /// not need; no requests to the internet.
    pub const ARGUMENTS: [&str; 10] = [
        "--headless=new",
        "--no-sandbox",
        "--remote-debugging-pipe",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--no-proxy-server",
    ];

    /// Finds or installs the programs, and starts the driver. Deletes what earlier runs left in `directory`.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if another process runs it in this directory; otherwise the failure.
    pub fn start(directory: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let programs = provide::browser(progress)?;
        let home = Home::open(directory, "browser", None, true)?;
        let [port] = port::free()?;
        let path = std::env::join_paths(find::search_path()).unwrap_or_default();
        let launch = Launch {
            server: "chromedriver",
            name: "chromedriver",
            directory: home.path(),
            account: None,
            program: &programs.driver,
            arguments: vec![OsString::from(format!("--port={port}"))],
            // The browser stores its files in the driver's working directory.
            environment: vec![
                ("PATH", path),
                ("HOME", home.path().into()),
                ("TMPDIR", home.path().into()),
                ("LANG", "C.UTF-8".into()),
            ],
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: None,
        };
        let mut driver = Guarded::launch(&launch)?;
        driver.wait_ready(START_PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        Ok(Self { driver, port, programs, home })
    }

    /// The URL of the driver.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The browser's program, for the driver.
    pub fn program(&self) -> &Path {
        &self.programs.browser
    }

    /// A directory for the profile of a session.
    pub fn directory(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Stops the driver and returns when none of its processes is left.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn stop(mut self) -> Result<(), Error> {
        self.driver.stop()
    }
}
