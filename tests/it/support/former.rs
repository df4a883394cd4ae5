//! What version 0.1.0 kept of a person: under the address as it was spelled.

use std::path::Path;

use redb::TableDefinition;
use textledger::{
    domain::{Consent, MessageId, UnixMs, consent::ConsentChange},
    store::{embedded::FILE_NAME, encode},
};

/// A connection to the Redis of `url`, server or cluster.
pub fn connection(url: &str) -> Box<dyn redis::ConnectionLike> {
    let Some(nodes) = url.strip_prefix("redis-cluster://") else {
        return Box::new(redis::Client::open(url).unwrap().get_connection().unwrap());
    };
    let nodes: Vec<String> = nodes.split(',').map(|node| format!("redis://{node}")).collect();
    let cluster = redis::cluster::ClusterClient::new(nodes).unwrap();
    Box::new(cluster.get_connection().unwrap())
}

/// A person of the default organization.
pub struct Former {
    pub spelling: &'static str,
    pub consent: Option<Consent>,
    pub changes: Vec<ConsentChange>,
    /// Messages to the person: when they were entered, and which.
    pub history: Vec<(UnixMs, MessageId)>,
    /// When the person was last sent to.
    pub last: Option<UnixMs>,
}

impl Former {
    /// Writes it into Redis, server or cluster.
    pub fn write_to_redis(&self, url: &str, prefix: &str, partitions: u16) {
        self.write(connection(url).as_mut(), prefix, partitions);
    }

    fn write(&self, connection: &mut dyn redis::ConnectionLike, prefix: &str, partitions: u16) {
        let digest = crc16::State::<crc16::XMODEM>::calculate(self.spelling.as_bytes());
        let partition = digest % partitions;
        let key = |rest: &str| format!("{prefix}:{{default:{partition}}}:{rest}");
        let mut run = |command: &mut redis::Cmd| command.query::<redis::Value>(connection).map(drop).unwrap();
        if let Some(consent) = &self.consent {
            run(redis::cmd("SET").arg(key(&format!("consent:{}", self.spelling))).arg(encode(consent)));
            run(redis::cmd("ZADD").arg(key("persons")).arg(0).arg(self.spelling));
        }
        for change in &self.changes {
            run(redis::cmd("RPUSH").arg(key(&format!("changes:{}", self.spelling))).arg(encode(change)));
        }
        for (at, id) in &self.history {
            run(redis::cmd("XADD").arg(key("history")).arg(format!("{at}-0")).arg("m").arg(id.as_str()));
            let member = format!("{}:{:011x}{:05x}:{id}", &self.spelling[1..], at.get(), 0);
            run(redis::cmd("ZADD").arg(key(&format!("history:{:03x}", digest >> 4))).arg(0).arg(member));
        }
        if let Some(last) = self.last {
            let name = key(&format!("last:{}", self.spelling));
            run(redis::cmd("SET").arg(name).arg(last.get()).arg("PX").arg(60_000));
        }
    }

    /// Writes it into the file of an embedded store that nobody has open.
    pub fn write_to_file(&self, folder: &Path) {
        const CONSENTS: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("consents");
        const CHANGES: TableDefinition<'_, (&str, &str, u64), &[u8]> = TableDefinition::new("changes");
        const HISTORY: TableDefinition<'_, (&str, u64, u64), &str> = TableDefinition::new("history");
        const HISTORY_OF: TableDefinition<'_, (&str, &str, u64, u64), &str> =
            TableDefinition::new("history_of");
        const PACE: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("pace");
        std::fs::create_dir_all(folder).unwrap();
        let database = redb::Database::create(folder.join(FILE_NAME)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut consents = transaction.open_table(CONSENTS).unwrap();
            if let Some(consent) = &self.consent {
                consents.insert(("default", self.spelling), encode(consent).as_str()).unwrap();
            }
            let mut changes = transaction.open_table(CHANGES).unwrap();
            for (number, change) in (0..).zip(&self.changes) {
                changes.insert(("default", self.spelling, number), encode(change).as_bytes()).unwrap();
            }
            let mut history = transaction.open_table(HISTORY).unwrap();
            let mut history_of = transaction.open_table(HISTORY_OF).unwrap();
            for (at, id) in &self.history {
                history.insert(("default", at.get(), 0), id.as_str()).unwrap();
                history_of.insert(("default", self.spelling, at.get(), 0), id.as_str()).unwrap();
            }
            let mut pace = transaction.open_table(PACE).unwrap();
            if let Some(last) = self.last {
                pace.insert(("default", format!("person {}", self.spelling).as_str()), last.get()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}
