//! Records that no version can read, in the place of what a service has stored.

use redb::TableDefinition;
use textledger::store::embedded::FILE_NAME;

use super::{
    former::connection,
    redis_server::RedisServer,
    service::{On, TestService},
};

/// What stands there then.
pub const NO_RECORD: &str = "no record";

/// A record of the default organization.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// What is known of this person's consent.
    Consent(&'a str),
}

/// Puts what cannot be read in the place of `records`. The service is stopped meanwhile.
pub async fn damage(service: &mut TestService, on: On, records: &[Record<'_>]) {
    service.stop().await;
    match on {
        On::Redis => {
            let mut connection = connection(&RedisServer::shared().url());
            let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
            for record in records {
                in_redis(prefix, record).query::<redis::Value>(connection.as_mut()).unwrap();
            }
        }
        On::Embedded => {
            let file = service.folder().join("data").join(FILE_NAME);
            let database = redb::Database::create(file).unwrap();
            let transaction = database.begin_write().unwrap();
            records.iter().for_each(|record| in_file(&transaction, record));
            transaction.commit().unwrap();
        }
    }
    service.start_again();
}

fn in_redis(prefix: &str, record: &Record<'_>) -> redis::Cmd {
    let key = |rest: &str| format!("{prefix}:{{default:0}}:{rest}");
    match record {
        Record::Consent(person) => {
            redis::cmd("SET").arg(key(&format!("consent:{person}"))).arg(NO_RECORD).to_owned()
        }
    }
}

fn in_file(transaction: &redb::WriteTransaction, record: &Record<'_>) {
    const CONSENTS: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("consents");
    match record {
        Record::Consent(person) => {
            transaction.open_table(CONSENTS).unwrap().insert(("default", *person), NO_RECORD).unwrap();
        }
    }
}
