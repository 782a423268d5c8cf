//! The servers, each started by the first test that needs it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, fs, thread};

use database::Session;
use stack::kept::{self, PostgresAddress, RabbitMqAddress};
use stack::{Options, Postgres, RabbitMq};
use tokio_postgres::Config;

use crate::names::is_left;

/// `keep` leaves servers running after the tests.
const STACK: &str = "COMMONPLACE_TEST_STACK";
/// An image of RabbitMQ to use instead of the installed one. It is never kept.
const RABBITMQ_IMAGE: &str = "COMMONPLACE_TEST_RABBITMQ_IMAGE";

/// A server's address, and the server if it is to end with this process.
struct Running<A, S> {
    address: A,
    _server: Option<S>,
}

/// The address of this process's PostgreSQL server. Blocks while the server starts.
pub(crate) fn postgres() -> &'static PostgresAddress {
    static POSTGRES: OnceLock<Running<PostgresAddress, Postgres>> = OnceLock::new();
    let running = POSTGRES.get_or_init(|| {
        if are_kept() {
            let address = kept::postgres(&kept_options(), &mut report).expect("a kept server starts");
            drop_left_databases(address.url.parse().unwrap());
            return Running { address, _server: None };
        }
        let server = own_postgres("");
        let address = PostgresAddress { url: server.url(), log: server.log() };
        Running { address, _server: Some(server) }
    });
    &running.address
}

/// The address of this process's RabbitMQ node. Blocks while the node starts.
pub fn rabbitmq() -> &'static RabbitMqAddress {
    static RABBITMQ: OnceLock<Running<RabbitMqAddress, RabbitMq>> = OnceLock::new();
    let running = RABBITMQ.get_or_init(|| {
        let image = env::var_os(RABBITMQ_IMAGE).and_then(|image| image.into_string().ok());
        if are_kept() && image.is_none() {
            let address = kept::rabbitmq(&kept_options(), &mut report).expect("a kept server starts");
            delete_left_vhosts(address.clone());
            return Running { address, _server: None };
        }
        let options = Options { rabbitmq_image: image, ..own_options("") };
        let server = RabbitMq::start(&options, &mut report).expect("a private server starts");
        let address =
            RabbitMqAddress { amqp_url: server.amqp_url(), management_url: server.management_url() };
        Running { address, _server: Some(server) }
    });
    &running.address
}

/// A PostgreSQL server that ends with the value, in a directory of this test binary.
pub(crate) fn own_postgres(suffix: &str) -> Postgres {
    Postgres::start(&own_options(suffix), &mut report).expect("a private server starts")
}

/// Whether servers outlive this process.
pub(crate) fn are_kept() -> bool {
    match env::var_os(STACK) {
        None => false,
        Some(value) if value == "keep" => true,
        Some(value) => panic!("{STACK} is {value:?}: set it to `keep`, or do not set it"),
    }
}

/// A lock among processes that set up the same kept server. Dropping the value releases it.
pub(crate) fn turn() -> Option<fs::File> {
    are_kept().then(|| {
        let path = kept_options().directory.join("roles.turn");
        let file = fs::File::options().create(true).truncate(false).write(true).open(path).unwrap();
        file.lock().unwrap();
        file
    })
}

/// The log of PostgreSQL since its start.
pub fn postgres_log() -> String {
    String::from_utf8_lossy(&fs::read(&postgres().log).unwrap()).into_owned()
}

/// A directory for the files of this test binary. Its name is that of the binary and this suffix.
fn temporary_directory(suffix: &str) -> PathBuf {
    let binary = env::current_exe().unwrap();
    let stem = binary.file_stem().unwrap().to_str().unwrap();
    let name = stem.rsplit_once('-').map_or(stem, |(name, _hash)| name);
    target_directory().join("tmp").join(format!("{name}{suffix}"))
}

/// Cargo's target directory, three levels above a test binary.
fn target_directory() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

fn own_options(suffix: &str) -> Options {
    let mut options = Options::new(temporary_directory(suffix));
    (options.durable, options.fresh, options.max_connections) = (false, true, 400);
    options
}

fn kept_options() -> Options {
    let mut options = Options::new(target_directory().join("test-stack"));
    (options.durable, options.max_connections) = (false, 400);
    options
}

fn report(step: &str) {
    eprintln!("{step}");
}

/// Drops the databases of earlier runs while the tests run. A later run drops the rest.
fn drop_left_databases(administrator: Config) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = Session::open(&administrator).await.unwrap();
            let names = session.client.query("select datname::text from pg_database", &[]).await.unwrap();
            for name in names.iter().map(|row| row.get::<_, &str>(0)).filter(|name| is_left(name)) {
                // Another run may be dropping it as well.
                let dropped = format!("drop database if exists {name} with (force)");
                drop(session.client.batch_execute(&dropped).await);
            }
        });
    });
}

/// Deletes the vhosts of earlier runs while the tests run.
fn delete_left_vhosts(rabbitmq: RabbitMqAddress) {
    thread::spawn(move || {
        for name in rabbitmq.vhosts().unwrap().iter().filter(|name| is_left(name)) {
            // Another run may be deleting it as well.
            drop(rabbitmq.delete_vhost(name));
        }
    });
}
