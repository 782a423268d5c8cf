//! The settings sections that every process has. [`configuration`] loads settings.

use std::net::SocketAddr;

use serde::Deserialize;

pub use configuration::{
    Bound, Defaults, Effective, Entry, Loader, Origin, SHARED_DEFAULTS, SettingsError, at_least, bound,
    fraction, published,
};

/// The `[http]` section of a process that serves only its operators.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port. Port 0 means any free port.
    pub address: SocketAddr,
    /// Accepted host names in addition to those of this machine, in lower case and without ports.
    pub host_names: Vec<String>,
}

/// The `[log]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A level, or levels by module, such as `info,broker=debug`.
    pub filter: String,
    /// The format of log lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// Readable text, coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it must be `text` or `json`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_log_format_is_refused_with_its_key_and_origin() {
        #[derive(Debug, Deserialize)]
        struct Settings {
            log: LogSettings,
        }
        let load = |format: &str| {
            let variable = ("COMMONPLACE__LOG__FORMAT".into(), format.into());
            Loader::new("").environment([variable]).load::<Settings>()
        };
        assert_eq!(load("json").unwrap().log.format, LogFormat::Json);
        assert_eq!(
            load("hunter2").unwrap_err().to_string(),
            "log.format in the environment variable COMMONPLACE__LOG__FORMAT is refused: it must be `text` or `json`"
        );
    }
}
