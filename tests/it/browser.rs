//! The pages in a real, headless browser. Every test ends by checking the browser's errors. Tests wait for content, never
//! for a fixed time.

mod console;
mod readers;
mod screenshots;
mod security;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};
use stack::Browser;
use tests::wait_until;
use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::prelude::*;
use tokio::sync::{Semaphore, SemaphorePermit};

static BROWSER: OnceLock<Mutex<Browser>> = OnceLock::new();
/// Only one browser runs at a time, because the two cores also run the servers.
static TURNS: Semaphore = Semaphore::const_new(1);

/// The width of a phone, and a height that shows enough of a page.
const PHONE: [u32; 2] = [360, 780];
const DESKTOP: [u32; 2] = [1280, 900];

/// A window, in a browser of its own.
struct Window {
    driver: WebDriver,
    _turn: SemaphorePermit<'static>,
}

impl Window {
    /// Opens a new browser with scripts, as wide as on a desktop.
    async fn open() -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let (url, program) = tokio::task::spawn_blocking(|| {
            let browser = BROWSER.get_or_init(|| {
                let directory = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/it"));
                let started = Browser::start(&directory, &mut |step| eprintln!("{step}"));
                Mutex::new(started.expect("a browser starts"))
            });
            let browser = browser.lock().unwrap();
            (browser.url(), browser.program().to_owned())
        })
        .await
        .unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(program.to_str().unwrap()).unwrap();
        for argument in Browser::ARGUMENTS {
            wanted.add_arg(argument).unwrap();
        }
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(&url, wanted).await.unwrap();
        let window = Self { driver, _turn: turn };
        window.size(DESKTOP).await;
        window
    }

    /// Opens a new browser without scripts.
    async fn open_without_script() -> Self {
        let window = Self::open().await;
        window.cdp("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
        window
    }

    async fn cdp(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Sets the size of the window.
    async fn size(&self, [width, height]: [u32; 2]) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets the preferred colour scheme: `light` or `dark`.
    async fn scheme(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    async fn go(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// The value of a JavaScript expression in the page.
    async fn js(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        let said = self.driver.execute(script, Vec::new()).await;
        said.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    /// Waits until an expression is true.
    async fn until(&self, expression: &str) {
        let is_so = wait_until(async || {
            // A page that the browser is leaving cannot evaluate anything.
            let said = self.driver.execute(format!("return Boolean({expression})"), Vec::new()).await;
            said.is_ok_and(|said| said.json() == &Value::Bool(true))
        });
        if !is_so.await {
            panic!("not so: {expression}; the page says: {}", self.text("body").await);
        }
    }

    /// The text of the first element.
    async fn text(&self, css: &str) -> String {
        let text = self.js(&format!("document.querySelector({css:?})?.innerText ?? ''")).await;
        text.as_str().unwrap().to_owned()
    }

    /// A number as the page shows it, without the spaces between thousands.
    async fn number(&self, css: &str) -> i64 {
        let text = self.text(css).await;
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("{css} is no number: {text:?}"))
    }

    async fn element(&self, css: &str) -> WebElement {
        let found = self.driver.find(By::Css(css)).await;
        found.unwrap_or_else(|_| panic!("there is no {css}"))
    }

    async fn click(&self, css: &str) {
        self.element(css).await.click().await.unwrap();
    }

    /// Presses a button whose form leads to another page, and waits for that.
    async fn submit(&self, css: &str) {
        let before = self.element("html").await;
        self.click(css).await;
        let left = wait_until(async || !before.is_present().await.unwrap_or(false));
        assert!(left.await, "the page stays");
        self.loaded().await;
    }

    /// Waits until the page is loaded.
    async fn loaded(&self) {
        let whole = wait_until(async || {
            let state = self.driver.execute("return document.readyState", Vec::new()).await;
            state.is_ok_and(|state| state.json() == "complete")
        });
        assert!(whole.await, "the page does not load");
    }

    async fn write(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// The browser's errors since the last call, except for the `expected` ones.
    async fn complaints(&self, expected: &[&str]) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter()
            .filter(|entry| entry.level == "SEVERE" || entry.level == "WARNING")
            .map(|entry| entry.message)
            .filter(|message| !expected.iter().any(|words| message.contains(words)))
            .collect()
    }

    /// Closes the browser. Asserts that it reported no errors except the expected ones.
    async fn close(self, expected: &[&str]) {
        let complaints = self.complaints(expected).await;
        assert!(complaints.is_empty(), "{complaints:?}");
        self.driver.quit().await.unwrap();
    }
}
