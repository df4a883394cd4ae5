//! A simulated Twilio that knows accounts and nothing else, for services that only need theirs to be confirmed.

use std::sync::OnceLock;

use textledger::{
    simulator::{self, Config, OtherAccounts},
    twilio::AccountSid,
};

/// An account that no test has: what is asked for any other one is whether it exists.
const NOBODYS_ACCOUNT: &str = "ACffffffffffffffffffffffffffffffff";

/// Its base URL. It runs on a thread of its own, since it outlives the test that needs it first.
pub fn base_url() -> &'static str {
    static BASE_URL: OnceLock<String> = OnceLock::new();
    BASE_URL.get_or_init(|| {
        let (told, base_url) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let account = AccountSid::parse(NOBODYS_ACCOUNT).unwrap();
                let config = Config {
                    other_accounts: OtherAccounts::Any,
                    ..Config::new(account, "nobody's token".into())
                };
                let twilio = simulator::start(config).await.unwrap();
                told.send(twilio.base_url()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        base_url.recv().unwrap()
    })
}
