//! The template that every test's database is cloned from, with the schema of this build. Roles belong to the cluster, so
//! they are made once; their connection limits are lifted, because many tests share them.

use database::Session;
use database::bootstrap::{LoginSettings, RoleSettings, login_roles};
use tokio::sync::OnceCell;
use tokio_postgres::Config;

use crate::names::name;
use crate::servers::{are_kept, turn};

/// The password of every role and of every service's user.
pub const PASSWORD: &str = "for tests on this machine only";

/// This process's template on the server that its tests share.
pub(crate) async fn shared(administrator: &Config) -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let make = async || {
        let template = name("template", None, are_kept());
        let turn = tokio::task::spawn_blocking(turn).await.unwrap();
        prepare(administrator.clone(), &template).await;
        drop(turn);
        template
    };
    TEMPLATE.get_or_init(make).await
}

/// Makes the roles of a server and a template on it.
pub(crate) async fn prepare(mut administrator: Config, template: &str) {
    let outer = Session::open(&administrator).await.unwrap();
    outer.client.batch_execute(&format!("create database {template}")).await.unwrap();
    administrator.dbname(template);
    database::bootstrap::run(&administrator, &roles()).await.unwrap();
    database::migrations::run(&administrator).await.unwrap();
    lift_connection_limits(&administrator).await;
}

/// Many tests share the roles at once.
pub async fn lift_connection_limits(administrator: &Config) {
    let session = Session::open(administrator).await.unwrap();
    // A test on the console's share needs it.
    for role in login_roles().filter(|role| *role != "console") {
        session.client.batch_execute(&format!("alter role {role} connection limit -1")).await.unwrap();
    }
}

/// The settings of the roles in the tests' cluster. The shares only have to fit into the server; they are lifted.
pub fn roles() -> RoleSettings {
    RoleSettings {
        logins: RoleSettings::alike(&LoginSettings { password: PASSWORD.into(), connections: 20 }),
        reserve_connections: 10,
        direct_path: true,
        owns_server: true,
    }
}
