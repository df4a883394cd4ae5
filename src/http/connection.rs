//! Whether Twilio takes what an administrator saved.

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::operations::{self, ConflictProblems, ReadProblems},
    problem::{self, Problem},
};
use crate::app::accounts::{
    AccountError,
    connection::{ACTIVE, SignedWith, Tested},
};

/// What a test found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConnectionTest)]
pub struct TestAnswer {
    success: bool,
    message: String,
    /// What to do, if anything.
    mend: Option<String>,
    /// `api_key` or `auth_token`: what calls to Twilio are signed with.
    authenticated_by: &'static str,
    twilio_code: Option<u32>,
    account: Option<AccountAnswer>,
}

/// The account, as Twilio knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TwilioAccount)]
pub struct AccountAnswer {
    friendly_name: Option<String>,
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Tests the credentials.
///
/// Twilio is asked for the account, which sends nothing and costs nothing. If the account is active, its queue goes on that was
/// stopped as Twilio took nothing from it, and so do those of its senders.
#[utoipa::path(
    post, path = "/api/sms/test-connection", tags = [operations::TAG, operations::SETUP], operation_id = "testConnection",
    responses(
        ReadProblems, ConflictProblems,
        (status = 200, body = TestAnswer, description = "whether Twilio took the credentials"),
    ),
)]
pub async fn test(state: web::Data<State>, caller: Caller) -> Result<web::Json<TestAnswer>, Problem> {
    caller.require(Right::Administer)?;
    let tested = state
        .app
        .accounts
        .of(&caller.organization)
        .test_connection()
        .await?
        .ok_or(AccountError::NotConfigured)?;
    if tested.is_active() {
        state.app.pauses.of(&caller.organization).resume().await?;
    }
    Ok(web::Json(answer(tested)))
}

fn answer(tested: Tested) -> TestAnswer {
    let authenticated_by = tested.calls_with.as_str();
    match tested.result {
        Ok(account) => {
            let status = account.status.as_deref();
            TestAnswer {
                success: true,
                message: "Twilio connection successful".to_owned(),
                mend: (status != Some(ACTIVE)).then(|| {
                    let status = status.unwrap_or("in no known state");
                    format!("the account is {status}: look at it in Twilio's console before you send")
                }),
                authenticated_by,
                twilio_code: None,
                account: Some(AccountAnswer {
                    friendly_name: account.friendly_name,
                    status: account.status,
                    kind: account.kind,
                }),
            }
        }
        Err((failed, error)) => TestAnswer {
            success: false,
            message: match failed {
                SignedWith::ApiKey => format!("with the API key: {error}"),
                SignedWith::AuthToken => format!("with the auth token: {error}"),
            },
            mend: Some(problem::mend_of(&error)),
            authenticated_by,
            twilio_code: error.twilio_code(),
            account: None,
        },
    }
}
