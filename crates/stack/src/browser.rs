//! A browser without a screen, for tests that look at pages: Chromium, driven by chromedriver (`WebDriver`) on a free port.
//!
//! Only the driver runs under the guard. It starts a browser for each session, which must be asked for with
//! [`Browser::ARGUMENTS`]: among them that it is driven through a pipe, so that a browser whose driver is gone ends too.

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

/// A running driver. Dropping it ends it, and the browsers that it started.
#[derive(Debug)]
pub struct Browser {
    // Before the home, so that the driver is gone when the home's lock is released.
    driver: Guarded,
    port: u16,
    programs: BrowserPrograms,
    home: Home,
}

impl Browser {
    /// What each session passes to the browser: no screen; no sandbox, which root cannot have and pages of our own do not
    /// need; nothing that asks somebody on the internet.
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

    /// Finds or installs the programs, and starts the driver. What earlier runs left in `directory` is deleted.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] when another process runs it in this directory; else what failed.
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
            // What a browser keeps goes where the driver runs.
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

    /// Where the driver listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The browser's program, for the driver.
    pub fn program(&self) -> &Path {
        &self.programs.browser
    }

    /// Where a session can keep its profile.
    pub fn directory(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Ends the driver and returns when no process of it is left.
    ///
    /// # Errors
    ///
    /// When a process could not be ended.
    pub fn stop(mut self) -> Result<(), Error> {
        self.driver.stop()
    }
}
