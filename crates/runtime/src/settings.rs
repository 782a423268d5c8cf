//! Sections of the settings that every process has. How settings are loaded: [`configuration`].

use std::net::SocketAddr;

use serde::Deserialize;

pub use configuration::{
    Bound, Defaults, Effective, Entry, Loader, Origin, SHARED_DEFAULTS, SettingsError, at_least, bound,
    fraction, published,
};

/// Section `[http]` of a process that answers its operators alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names that are answered besides those of this machine, without ports, in lower case.
    pub host_names: Vec<String>,
}

/// Section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A level, or levels by module: `info,broker=debug`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// For machines: one JSON object a line.
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
