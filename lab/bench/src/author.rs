//! An account that signs up, signs in and publishes through the public API.

use std::net::SocketAddr;

use load::{Broken, Connection};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An account with a token.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    api: SocketAddr,
    pub(crate) id: i64,
    token: String,
}

impl Author {
    pub(crate) async fn sign_up(api: SocketAddr, handle: &str) -> Result<Self, Broken> {
        let password = "for this run only";
        let email = format!("{handle}@example.org");
        let new = json!({"handle": handle, "email": email, "password": password});
        let account = post(api, "/v1/accounts", None, &new).await?;
        let session = json!({"handle": handle, "password": password});
        let session = post(api, "/v1/sessions", None, &session).await?;
        let token = session
            .get("token")
            .and_then(Value::as_str)
            .ok_or(Broken::Unsupported("has no token"))?
            .to_owned();
        Ok(Self { api, id: id(&account)?, token })
    }

    /// The address of the API.
    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Its token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Publishes a new blog and returns its id.
    pub(crate) async fn publish(&self, title: &str) -> Result<i64, Broken> {
        let blog = json!({"title": title, "body": "To be told of.", "publish": true});
        id(&post(self.api, "/v1/blogs", Some(&self.token), &blog).await?)
    }
}

fn id(answer: &Value) -> Result<i64, Broken> {
    answer.get("id").and_then(Value::as_i64).ok_or(Broken::Unsupported("has no id"))
}

/// Sends a GET and reads the answer.
pub(crate) async fn get<T: DeserializeOwned>(
    connection: &mut Connection,
    host: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> Result<T, Broken> {
    let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{bearer}\r\n");
    if connection.exchange(request.as_bytes()).await?.status != 200 {
        return Err(Broken::Unsupported("was a refusal"));
    }
    serde_json::from_slice(connection.body()).map_err(|_| Broken::Unsupported("is not the expected JSON"))
}

async fn post(api: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> Result<Value, Broken> {
    let body = body.to_string();
    let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {api}\r\n{bearer}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(api).await?;
    let answer = connection.exchange(request.as_bytes()).await?;
    if !(200..300).contains(&answer.status) {
        return Err(Broken::Unsupported("was a refusal"));
    }
    serde_json::from_slice(connection.body()).map_err(|_| Broken::Unsupported("is not JSON"))
}
