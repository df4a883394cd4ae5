//! An account belongs to whoever proves it: Twilio takes their token. What cannot be asked now verifies nothing, blocks
//! nobody, and is asked again.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use textledger::{
    domain::Role,
    simulator::{self, Config},
    twilio::AccountSid,
};

use super::{
    on_both_stores,
    settings::{NO_ACCOUNT, OTHER_ACCOUNT, OTHER_TOKEN, SETTINGS, account, beside, webhook},
};
use crate::support::{
    accounts, eventually,
    service::{ACCOUNT_SID, AUTH_TOKEN, MASTER_KEY, On, PERSON, PUBLIC_URL, TestService, answer},
    twilio::World,
};

on_both_stores! {
    a_claim_with_an_invented_token_is_refused_and_tells_nothing
    what_twilio_cannot_be_asked_about_verifies_nothing_and_blocks_nobody
    whoever_has_the_right_token_takes_the_account_from_an_invented_one
    a_change_of_something_else_is_of_what_is_in_force_once_the_token_is_refused
    a_token_is_rotated_while_twilio_is_away_and_no_webhook_is_refused
    nobodys_account_is_given_away_because_a_key_is_missing
    what_is_saved_while_twilio_is_away_rotates_the_master_key_of_what_is_in_force
    settings_that_are_not_in_force_explain_what_their_keys_sign_to_their_organization_alone
    however_many_name_an_account_each_is_told_what_its_own_key_has_signed
    of_two_that_are_verified_later_one_has_the_account
    at_most_one_organization_verifies_an_account_and_never_an_unverified_one
}

const SID: &str = "SM00000000000000000000000000000001";

/// Another master key than the tests' own.
const NEXT_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A token that the simulated Twilio takes for no account.
const REFUSED_TOKEN: &str = "ffffffffffffffffffffffffffffffff";

async fn world(on: On) -> World {
    World::start_with(on, &[&NO_ACCOUNT[..], &[("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]].concat()).await
}

/// Twilio fails from now on, or works again.
async fn twilio_is_away(world: &World, is_away: bool) {
    let faults = if is_away { json!({ "server_error": 1 }) } else { json!({}) };
    world.fault(faults).await;
}

async fn save(service: &TestService, organization: &str, account_sid: &str, token: &str) -> (u16, Value) {
    service.post_in(organization, SETTINGS, &account(account_sid, token)).await
}

/// Saves settings that Twilio cannot be asked about.
async fn save_unverified(service: &TestService, organization: &str, account_sid: &str, token: &str) {
    let (status, settings) = save(service, organization, account_sid, token).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("unverified")), "{settings}");
    assert_eq!((&settings["configured"], &settings["source"]), (&json!(true), &json!("saved")));
    assert_eq!(settings["account_sid"], account_sid);
}

async fn verification(service: &TestService, organization: &str) -> Value {
    service.get_in(organization, SETTINGS).await.1["verification"].clone()
}

async fn becomes(service: &TestService, organization: &str, expected: &str) {
    eventually(&format!("{organization} is {expected}"), async || {
        (verification(service, organization).await == expected).then_some(())
    })
    .await;
}

async fn a_claim_with_an_invented_token_is_refused_and_tells_nothing(on: On) {
    let world = world(on).await;
    let service = &world.service;
    let invented = async |organization: &str, account_sid: &str| {
        let (status, mut problem) = save(service, organization, account_sid, REFUSED_TOKEN).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{problem}");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
        assert_eq!(problem["errors"][0]["field"], "auth_token");
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    let unclaimed = invented("acme", ACCOUNT_SID).await;
    assert_eq!(service.get_in("acme", SETTINGS).await.1["configured"], false);
    // So the owner gets it, and its webhooks are taken.
    let (status, settings) = save(service, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")));
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    // Whether an account is here is told to nobody without its token.
    assert_eq!(invented("acme", ACCOUNT_SID).await, unclaimed);
    assert_eq!(invented("acme", OTHER_ACCOUNT).await, unclaimed);
    let (status, problem) = save(service, "acme", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")));
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

async fn what_twilio_cannot_be_asked_about_verifies_nothing_and_blocks_nobody(on: On) {
    let mut world = world(on).await;
    twilio_is_away(&world, true).await;
    let service = &world.service;
    save_unverified(service, "acme", ACCOUNT_SID, OTHER_TOKEN).await;
    save_unverified(service, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    for token in [OTHER_TOKEN, AUTH_TOKEN] {
        assert_eq!(webhook(service, ACCOUNT_SID, token, SID).await, 403);
    }
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("twilio_not_configured")));
    assert!(problem["mend"].as_str().unwrap().contains("unverified"), "{problem}");
    // It is asked again also after a restart, and its answer decides.
    world.service.kill();
    world.service.start_again();
    twilio_is_away(&world, false).await;
    let service = &world.service;
    becomes(service, "default", "verified").await;
    becomes(service, "acme", "refused").await;
    let (_, refused) = service.get_in("acme", SETTINGS).await;
    assert!(refused["verification_detail"].as_str().unwrap().contains("Authenticate"), "{refused}");
    // In force in the store, and a moment later in what this instance verifies with.
    eventually("its webhooks are taken", async || {
        (webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await == 204).then_some(())
    })
    .await;
    assert_eq!(webhook(service, ACCOUNT_SID, OTHER_TOKEN, SID).await, 403);
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
    let log = service.log();
    assert!(log.contains("settings.verify") && log.contains("settings.refuse"), "{log}");
    for secret in [AUTH_TOKEN, OTHER_TOKEN] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn whoever_has_the_right_token_takes_the_account_from_an_invented_one(on: On) {
    // Version 0.1.0 took any token. Here a stand-in for Twilio does, when the claim is made.
    let takes_any = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TWILIO_API_BASE_URL", accounts::base_url())];
    let mut world = World::start_with(on, &[&NO_ACCOUNT[..], &takes_any].concat()).await;
    let (status, settings) = save(&world.service, "acme", ACCOUNT_SID, OTHER_TOKEN).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")), "{settings}");
    world.service.kill();
    world.service.set("TWILIO_API_BASE_URL", &world.twilio.base_url());
    world.service.start_again();
    let service = &world.service;
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);
    let (status, settings) = save(service, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")), "{settings}");
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    assert_eq!(webhook(service, ACCOUNT_SID, OTHER_TOKEN, SID).await, 403);
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
    // Nor does the former claim win it back: what is saved already is no proof.
    let (status, problem) = service.post_in("acme", SETTINGS, &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")), "{problem}");
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    // Not even while Twilio refuses the owner's token too, since that was changed there.
    let changed = Config::new(AccountSid::parse(ACCOUNT_SID).unwrap(), "the token of tomorrow".into());
    let twilio = simulator::start(changed).await.unwrap();
    world.service.kill();
    world.service.set("TWILIO_API_BASE_URL", &twilio.base_url());
    world.service.start_again();
    let service = &world.service;
    let (status, problem) = service.post_in("acme", SETTINGS, &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")), "{problem}");
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

/// Starts the service again with the master keys `keys`.
fn restart_with(world: &mut World, keys: &str) {
    world.service.kill();
    world.service.set("TEXTLEDGER_MASTER_KEY", keys);
    world.service.start_again();
}

async fn nobodys_account_is_given_away_because_a_key_is_missing(on: On) {
    let mut world = world(on).await;
    assert_eq!(save(&world.service, "acme", ACCOUNT_SID, AUTH_TOKEN).await.0, 200);
    restart_with(&mut world, NEXT_KEY);
    let (status, problem) = save(&world.service, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")), "{problem}");
    restart_with(&mut world, MASTER_KEY);
    assert_eq!(verification(&world.service, "acme").await, "verified");
    assert_eq!(webhook(&world.service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

async fn what_is_saved_while_twilio_is_away_rotates_the_master_key_of_what_is_in_force(on: On) {
    let mut world = world(on).await;
    assert_eq!(save(&world.service, "default", ACCOUNT_SID, AUTH_TOKEN).await.0, 200);
    restart_with(&mut world, &format!("{NEXT_KEY},{MASTER_KEY}"));
    twilio_is_away(&world, true).await;
    save_unverified(&world.service, "default", ACCOUNT_SID, OTHER_TOKEN).await;
    restart_with(&mut world, NEXT_KEY);
    assert_eq!(verification(&world.service, "default").await, "unverified");
    assert_eq!(webhook(&world.service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

async fn a_change_of_something_else_is_of_what_is_in_force_once_the_token_is_refused(on: On) {
    let world = world(on).await;
    let service = &world.service;
    assert_eq!(save(service, "default", OTHER_ACCOUNT, OTHER_TOKEN).await.0, 200);
    twilio_is_away(&world, true).await;
    save_unverified(service, "default", OTHER_ACCOUNT, REFUSED_TOKEN).await;
    twilio_is_away(&world, false).await;
    becomes(service, "default", "refused").await;
    let sender = json!({ "phone_number": "+15005550009" });
    let (status, settings) = service.post_in("default", SETTINGS, &sender).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")), "{settings}");
    assert_eq!(settings["phone_number"], "+15005550009");
    assert_eq!(verification(service, "default").await, "verified");
    assert_eq!(webhook(service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
}

async fn a_token_is_rotated_while_twilio_is_away_and_no_webhook_is_refused(on: On) {
    let next = "fedcba9876543210fedcba9876543210";
    let world = world(on).await;
    let service = &world.service;
    assert_eq!(save(service, "default", OTHER_ACCOUNT, OTHER_TOKEN).await.0, 200);
    twilio_is_away(&world, true).await;
    save_unverified(service, "default", OTHER_ACCOUNT, next).await;
    assert_eq!(webhook(service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
    assert_eq!(webhook(service, OTHER_ACCOUNT, next, SID).await, 403);
    // What else is changed meanwhile comes into force with it.
    let sender = json!({ "phone_number": "+15005550009" });
    let (status, settings) = service.post_in("default", SETTINGS, &sender).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("unverified")));
    twilio_is_away(&world, false).await;
    becomes(service, "default", "verified").await;
    assert_eq!(webhook(service, OTHER_ACCOUNT, next, SID).await, 204);
    assert_eq!(webhook(service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 403);
    let (_, settings) = service.get_in("default", SETTINGS).await;
    assert_eq!(
        (&settings["phone_number"], &settings["auth_token_last4"]),
        (&json!("+15005550009"), &json!("3210"))
    );

    // One that Twilio refuses later changes nothing, and is taken back by saving what is in force.
    twilio_is_away(&world, true).await;
    save_unverified(service, "default", OTHER_ACCOUNT, REFUSED_TOKEN).await;
    twilio_is_away(&world, false).await;
    becomes(service, "default", "refused").await;
    assert_eq!(webhook(service, OTHER_ACCOUNT, next, SID).await, 204);
    twilio_is_away(&world, true).await;
    let (status, settings) = save(service, "default", OTHER_ACCOUNT, next).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")), "{settings}");
}

/// What `organization` is told of the refused webhooks that its settings have signed, once there are `count`; without what
/// differs from one request to the next.
async fn told(service: &TestService, organization: &str, cause: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{organization} is told of {cause}"), async || {
        let mut refusals = refusals(service, organization).await["refusals"].as_array().unwrap().clone();
        refusals.retain(|refusal| refusal["cause"] == cause);
        for refusal in &mut refusals {
            refusal.as_object_mut().unwrap().remove("at");
        }
        (refusals.len() == count).then_some(refusals)
    })
    .await
}

async fn refusals(service: &TestService, organization: &str) -> Value {
    let (status, answer) = service.get_in(organization, "/api/sms/webhook-refusals").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn however_many_name_an_account_each_is_told_what_its_own_key_has_signed(on: On) {
    let world = world(on).await;
    let service = &world.service;
    twilio_is_away(&world, true).await;
    let tokens: Vec<String> = (0..12).map(|number| format!("{number:032x}")).collect();
    for (number, token) in tokens.iter().enumerate() {
        save_unverified(service, &format!("org-{number}"), ACCOUNT_SID, token).await;
    }
    let state = r#"textledger_settings_not_in_force{state="unverified"}"#;
    eventually("all are known", async || (service.metric(state).await == 12).then_some(())).await;
    // Twilio goes on to post with the key of each.
    let mut left: Vec<(usize, &String)> = tokens.iter().enumerate().collect();
    eventually("each is told", async || {
        for (number, token) in std::mem::take(&mut left) {
            assert_eq!(webhook(service, ACCOUNT_SID, token, SID).await, 403);
            let refusals = refusals(service, &format!("org-{number}")).await;
            let mut refusals = refusals["refusals"].as_array().unwrap().iter();
            if !refusals.any(|refusal| refusal["cause"] == "unverified_settings") {
                left.push((number, token));
            }
        }
        left.is_empty().then_some(())
    })
    .await;
}

async fn settings_that_are_not_in_force_explain_what_their_keys_sign_to_their_organization_alone(on: On) {
    let world = world(on).await;
    let service = &world.service;
    let count = async |state: &str| {
        service.metric(&format!(r#"textledger_settings_not_in_force{{state="{state}"}}"#)).await
    };
    twilio_is_away(&world, true).await;
    save_unverified(service, "acme", ACCOUNT_SID, OTHER_TOKEN).await;
    eventually("it is counted", async || (count("unverified").await == 1).then_some(())).await;
    assert_eq!(webhook(service, ACCOUNT_SID, OTHER_TOKEN, SID).await, 403);
    let unverified = told(service, "acme", "unverified_settings", 1).await;
    assert_eq!(unverified[0]["account_sid"], ACCOUNT_SID);
    assert!(unverified[0]["mend"].as_str().unwrap().contains("saved once more"), "{unverified:?}");
    let answer = refusals(service, "acme").await;
    let pending = &answer["settings_not_in_force"];
    assert_eq!(
        (&pending["account_sid"], &pending["verification"]),
        (&json!(ACCOUNT_SID), &json!("unverified"))
    );
    assert!(pending["mend"].as_str().unwrap().contains("TWILIO_API_BASE_URL"), "{pending}");
    // Neither the operator's organization nor a further one is told.
    for other in ["default", "other"] {
        let answer = refusals(service, other).await;
        assert_eq!(answer, json!({ "refusals": [], "settings_not_in_force": null }), "{other}");
    }

    // Once it is somebody else's, acme is told of its own as before, and of the owner's nothing.
    twilio_is_away(&world, false).await;
    let (status, settings) = save(service, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!((status, &settings["verification"]), (200, &json!("verified")), "{settings}");
    becomes(service, "acme", "refused").await;
    eventually("it is counted", async || (count("refused").await == 1).then_some(())).await;
    assert_eq!(count("unverified").await, 0);
    assert_eq!(webhook(service, ACCOUNT_SID, OTHER_TOKEN, SID).await, 403);
    assert_eq!(webhook(service, ACCOUNT_SID, REFUSED_TOKEN, SID).await, 403);
    let refused = told(service, "acme", "refused_settings", 1).await;
    for same in ["reason", "account_sid", "path", "peer"] {
        assert_eq!(refused[0][same], unverified[0][same], "{same}");
    }
    assert_eq!(refusals(service, "acme").await["refusals"].as_array().unwrap().len(), 2);
    let owners = refusals(service, "default").await;
    let owners: Vec<_> =
        owners["refusals"].as_array().unwrap().iter().map(|refusal| &refusal["cause"]).collect();
    assert!(owners.iter().all(|cause| cause.is_null()), "{owners:?}");

    // An owner that rotates its token is told of the new one.
    twilio_is_away(&world, true).await;
    save_unverified(service, "default", ACCOUNT_SID, REFUSED_TOKEN).await;
    eventually("it is counted", async || (count("unverified").await == 1).then_some(())).await;
    assert_eq!(webhook(service, ACCOUNT_SID, REFUSED_TOKEN, SID).await, 403);
    told(service, "default", "unverified_settings", 1).await;
    assert_eq!(refusals(service, "acme").await["refusals"].as_array().unwrap().len(), 2);
    let log = service.log();
    for secret in [AUTH_TOKEN, OTHER_TOKEN, REFUSED_TOKEN] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn of_two_that_are_verified_later_one_has_the_account(on: On) {
    let world = world(on).await;
    let service = &world.service;
    twilio_is_away(&world, true).await;
    let organizations = ["acme", "globex", "initech"];
    for organization in organizations {
        save_unverified(service, organization, ACCOUNT_SID, AUTH_TOKEN).await;
    }
    twilio_is_away(&world, false).await;
    let mut found = Vec::new();
    for organization in organizations {
        eventually("Twilio is asked", async || {
            (verification(service, organization).await != "unverified").then_some(())
        })
        .await;
        found.push(service.get_in(organization, SETTINGS).await.1);
    }
    let verified = found.iter().filter(|settings| settings["verification"] == "verified").count();
    assert_eq!(verified, 1, "{found:?}");
    for refused in found.iter().filter(|settings| settings["verification"] != "verified") {
        let detail = refused["verification_detail"].as_str().unwrap();
        assert!(detail.starts_with("The account belongs to another organization."), "{detail}");
        assert!(organizations.iter().all(|other| !detail.contains(other)), "{detail}");
    }
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_has_verified_another_uses() {
    let world = world(On::Redis).await;
    let two = beside(&world.service).await;
    twilio_is_away(&world, true).await;
    save_unverified(&two, "default", ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!(verification(&world.service, "default").await, "unverified");
    twilio_is_away(&world, false).await;
    // What an instance tells to be in force is so there, whichever of them has asked Twilio.
    for service in [&world.service, &two] {
        becomes(service, "default", "verified").await;
        assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    }
    let (status, tested) = answer(two.post(Role::Admin, "/api/sms/test-connection", &json!({}))).await;
    assert_eq!((status, &tested["success"]), (200, &json!(true)));
}

/// What is known of three organizations that want two accounts.
#[derive(Default)]
struct Model {
    /// Which account an organization has in force.
    in_force: BTreeMap<&'static str, &'static str>,
    /// What an organization has saved that is not in force: the account, and whether the token is right.
    pending: BTreeMap<&'static str, (&'static str, bool)>,
}

impl Model {
    fn owner(&self, account_sid: &str) -> Option<&'static str> {
        let mut owners = self.in_force.iter().filter(|(_, sid)| **sid == account_sid);
        let owner = owners.next().map(|(organization, _)| *organization);
        assert!(owners.next().is_none(), "{account_sid} has two owners");
        owner
    }
}

/// The accounts, each with its token and one that Twilio refuses.
const ACCOUNTS: [(&str, &str, &str); 2] =
    [(ACCOUNT_SID, AUTH_TOKEN, OTHER_TOKEN), (OTHER_ACCOUNT, OTHER_TOKEN, REFUSED_TOKEN)];

const STEPS: usize = 40;

async fn at_most_one_organization_verifies_an_account_and_never_an_unverified_one(on: On) {
    let world = world(on).await;
    let service = &world.service;
    let mut random = StdRng::seed_from_u64(13);
    let (mut model, mut is_away) = (Model::default(), false);
    for step in 0..STEPS {
        if random.random_bool(0.25) {
            is_away = !is_away;
            twilio_is_away(&world, is_away).await;
            if !is_away {
                settle(service, &mut model).await;
            }
        }
        let organization = ["default", "acme", "globex"][random.random_range(0..3)];
        let (account_sid, right, wrong) = ACCOUNTS[random.random_range(0..2)];
        let is_right = random.random_bool(0.6);
        let (status, saved) =
            save(service, organization, account_sid, if is_right { right } else { wrong }).await;
        let is_in_force = is_right && model.in_force.get(organization) == Some(&account_sid);
        let owner = model.owner(account_sid).filter(|owner| *owner != organization);
        let expected = match (is_in_force, is_away, is_right, owner) {
            (true, ..) => (200, json!("verified")),
            (false, true, ..) => (200, json!("unverified")),
            (false, false, false, _) => (422, Value::Null),
            (false, false, true, Some(_)) => (409, Value::Null),
            (false, false, true, None) => (200, json!("verified")),
        };
        assert_eq!((status, &saved["verification"]), (expected.0, &expected.1), "step {step}: {saved}");
        if expected.1 == "verified" {
            model.in_force.insert(organization, account_sid);
            model.pending.remove(organization);
        } else if expected.1 == "unverified" {
            model.pending.insert(organization, (account_sid, is_right));
        }
        for (account_sid, right, wrong) in ACCOUNTS {
            let expected = if model.owner(account_sid).is_some() { 204 } else { 403 };
            assert_eq!(webhook(service, account_sid, right, SID).await, expected, "step {step}");
            assert_eq!(webhook(service, account_sid, wrong, SID).await, 403, "step {step}");
        }
    }
}

/// Waits until Twilio has been asked about everything, and has the model learn what came of it.
async fn settle(service: &TestService, model: &mut Model) {
    let pending = std::mem::take(&mut model.pending);
    for (&organization, &(account_sid, is_right)) in &pending {
        eventually("Twilio is asked", async || {
            (verification(service, organization).await != "unverified").then_some(())
        })
        .await;
        if verification(service, organization).await == "verified" {
            assert!(is_right, "{organization} has {account_sid} with a wrong token");
            model.in_force.insert(organization, account_sid);
        } else {
            model.pending.insert(organization, (account_sid, is_right));
        }
    }
}
