//! Converts the merged values to a process's type, and the errors of the `config` crate to ours. Their messages are never
//! shown, because they quote values.

use config::{Config, ConfigError, Value};
use serde::de::DeserializeOwned;

use crate::error::{Origin, SettingsError};
use crate::table;

/// Reads the merged values.
///
/// # Errors
/// The type rejects a value; the error has its key and origin.
pub(crate) fn read<T: DeserializeOwned>(config: Config) -> Result<T, SettingsError> {
    let values = config.cache.clone();
    config.try_deserialize().map_err(|error| explain(error, &values))
}

/// The error of a layer, or of reading `values`.
pub(crate) fn explain(error: ConfigError, values: &Value) -> SettingsError {
    match error {
        ConfigError::Foreign(error) => match error.downcast::<SettingsError>() {
            Ok(error) => *error,
            Err(_) => SettingsError::Defaults("a source failed".to_owned()),
        },
        ConfigError::Type { key: Some(key), expected, .. } => {
            SettingsError::WrongType { origin: origin_of(&key, values), key, expected }
        }
        ConfigError::At { key: Some(key), error, .. } => {
            let message = match *error {
                ConfigError::Message(message) => message,
                ConfigError::Type { expected, .. } => format!("it must be {expected}"),
                _ => "its value has the wrong form".to_owned(),
            };
            SettingsError::Refused { origin: origin_of(&key, values), key, message }
        }
        ConfigError::NotFound(key) => SettingsError::Refused {
            origin: origin_of(&key, values),
            key,
            message: "it is missing".to_owned(),
        },
        ConfigError::Message(message) => SettingsError::Defaults(message),
        ConfigError::FileParse { cause, .. } => {
            let message = cause.downcast_ref::<toml::de::Error>().map(toml::de::Error::message);
            SettingsError::Defaults(message.unwrap_or("this is not TOML").to_owned())
        }
        _ => SettingsError::Defaults("a value has the wrong form".to_owned()),
    }
}

/// The origin of a key, where an item of a list is `key[0]`.
fn origin_of(key: &str, values: &Value) -> Origin {
    let of_list = key.split_once('[').map_or(key, |(key, _)| key);
    let value = table::of(values).and_then(|values| table::find(values, of_list));
    value.map_or_else(Origin::defaults, Origin::of)
}
