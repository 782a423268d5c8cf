//! Actions of accounts and operators in tests.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::types::FromSql;

use crate::answer::{Answer, PASSWORD};
use crate::services::Running;
use crate::world::World;

impl Running {
    /// Follows an account.
    pub async fn follow(&self, account: i64, token: &str) -> Answer {
        let path = format!("/v1/accounts/{account}/follow");
        Answer::to(self.call(Method::PUT, &path, Some(token))).await
    }

    /// Unfollows an account.
    pub async fn unfollow(&self, account: i64, token: &str) -> Answer {
        self.delete(&format!("/v1/accounts/{account}/follow"), Some(token)).await
    }

    /// Reads a list page by page to its end. Returns all ids, and the total that the last page gives.
    pub async fn listed(&self, account: i64, list: &str, limit: usize) -> (Vec<i64>, i64) {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/accounts/{account}/{list}?limit={limit}{cursor}");
            let page = self.get(&path, None).await.is(200).body;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit, "{page}");
            ids.extend(items.iter().map(|item| item["id"].as_i64().unwrap()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (ids, page["total"].as_i64().unwrap()),
            }
        }
    }

    /// A page of the inbox.
    pub async fn inbox(&self, token: &str, query: &str) -> Value {
        self.get(&format!("/v1/notifications?{query}"), Some(token)).await.is(200).body
    }

    /// Marks notifications as read.
    pub async fn read(&self, token: &str, body: Value) -> Answer {
        self.post_json("/v1/notifications/read", Some(token), body).await
    }

    /// Deletes the account of this token.
    pub async fn leave(&self, token: &str) -> Answer {
        self.leave_saying(token, json!({"password": PASSWORD})).await
    }

    /// Asks for the account of this token to be deleted, with this body.
    pub async fn leave_saying(&self, token: &str, body: Value) -> Answer {
        Answer::to(self.call(Method::DELETE, "/v1/accounts/me", Some(token)).json(&body)).await
    }

    /// Asks for an export of the account.
    pub async fn request_export(&self, token: &str, password: &str) -> Answer {
        let request = self.call(Method::PUT, "/v1/accounts/me/export-request", Some(token));
        Answer::to(request.json(&json!({"password": password}))).await
    }
}

impl World {
    /// Moves every deletion this many days into the past.
    pub async fn age_deletions(&self, days: i32) {
        let age = "update blogs.account set deleted_at = deleted_at - make_interval(days => $1)";
        self.client().execute(age, &[&days]).await.unwrap();
    }

    /// Calls an owner's SQL function with this id, as the role `operator`, and returns its result.
    pub async fn operator<T>(&self, function: &str, id: i64) -> T
    where
        T: for<'row> FromSql<'row>,
    {
        let session = self.session("operator").await;
        session.client.query_one(&format!("select {function}($1)"), &[&id]).await.unwrap().get(0)
    }
}
