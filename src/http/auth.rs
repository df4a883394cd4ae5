//! Who calls: bearer tokens, which are JWTs or API keys.

mod jwks;
mod jwks_url;
mod token;

use std::sync::Arc;

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web};
use arc_swap::ArcSwap;
use futures_util::future::LocalBoxFuture;
use secrecy::SecretString;

use self::token::Tokens;
pub use self::{
    jwks::{InvalidJwks, KeySummary, PublicKeys},
    jwks_url::{FetchError, JwksUrl},
    token::{Claims, TokenRules, mint},
};
use super::{
    State,
    connections::{self, Proof},
    problem::Problem,
    request_id,
};
/// What a door asks of its [`Caller`].
pub use crate::domain::Right;
use crate::{
    app::api_keys::directory::NotAsked,
    domain::{ApiKey, KeySid, Organization, Principal, Role, SecretHash, UnixMs, audit::Origin},
    metrics::SignInRefusal,
};

/// The longest token, or secret of a key, in bytes: as much as proxies let a header have, and several times what a platform
/// puts into its tokens.
const BEARER_BYTES_MAX: usize = 16 * 1024;

/// Checks tokens and the keys of the configuration.
pub struct Authenticator {
    tokens: Tokens,
    public_keys: Arc<ArcSwap<PublicKeys>>,
    jwks_url: Option<Arc<JwksUrl>>,
    api_keys: Vec<ApiKey>,
}

impl Authenticator {
    /// Tokens by `rules` that are signed with `secret` (HS256) or one of `public_keys`, and `api_keys`.
    pub fn new(
        secret: &SecretString,
        rules: TokenRules,
        public_keys: PublicKeys,
        api_keys: Vec<ApiKey>,
    ) -> Self {
        let (tokens, public_keys) = (Tokens::new(secret, rules), ArcSwap::from_pointee(public_keys));
        Self { tokens, public_keys: Arc::new(public_keys), jwks_url: None, api_keys }
    }

    /// The same with public keys from `jwks_url`, once [`Authenticator::renew_public_keys`] has fetched them.
    pub fn with_jwks_url(self, jwks_url: Option<JwksUrl>) -> Self {
        Self { jwks_url: jwks_url.map(Arc::new), ..self }
    }

    /// Who `bearer` is at `now`, unless it is a key of the store.
    pub fn authenticate(&self, bearer: &str, now: UnixMs) -> Result<Caller, SignInRefusal> {
        if bearer.len() > BEARER_BYTES_MAX {
            return Err(SignInRefusal::BadToken);
        }
        let secret = SecretHash::of(bearer);
        if let Some(key) = self.api_keys.iter().find(|key| key.matches(&secret)) {
            return Ok(Caller {
                principal: Principal::api_key(&key.name),
                role: key.role,
                organization: key.organization.clone(),
                expires_at: None,
                secret: None,
                public_key: None,
                own_number: None,
                request_id: None,
            });
        }
        // Header, claims and signature, with dots between them.
        if bearer.split('.').count() != 3 {
            return Err(SignInRefusal::UnknownKey);
        }
        self.tokens.verify(bearer, &self.public_keys.load(), now)
    }
}

/// Who `bearer` is.
pub(super) async fn authenticate(state: &State, bearer: &str) -> Result<Caller, SignInRefusal> {
    match state.authenticator.authenticate(bearer, state.app.now_ms()) {
        Err(SignInRefusal::UnknownKey) => match KeySid::in_secret(bearer) {
            Some(sid) => stored_key(state, &sid, bearer).await,
            None => Err(SignInRefusal::UnknownKey),
        },
        Err(SignInRefusal::BadToken) if state.authenticator.renew_for(bearer).await => {
            state.authenticator.authenticate(bearer, state.app.now_ms())
        }
        known => known,
    }
}

/// The key `sid` of the store, whose secret `bearer` is said to be.
async fn stored_key(state: &State, sid: &KeySid, bearer: &str) -> Result<Caller, SignInRefusal> {
    let (keys, secret) = (&state.app.api_keys, SecretHash::of(bearer));
    // A key, or a secret of one, that is not known here may have been made elsewhere a moment ago.
    let known = match keys.find(sid).filter(|key| key.good_until(&secret).is_some()) {
        Some(known) => Some(known),
        None => keys.look_for(sid).await.map_err(|NotAsked| SignInRefusal::StoreUnavailable)?,
    };
    let key = known.ok_or(SignInRefusal::UnknownKey)?;
    let good_until = key.good_until(&secret).ok_or(SignInRefusal::UnknownKey)?;
    if good_until <= state.app.now_ms() {
        return Err(SignInRefusal::EndedKey);
    }
    if !keys.are_current() {
        return Err(SignInRefusal::StoreUnavailable);
    }
    keys.was_used(sid);
    Ok(Caller {
        principal: Principal::api_key(sid.as_str()),
        role: key.role,
        organization: key.organization.clone(),
        expires_at: Some(good_until).filter(|end| *end != UnixMs::MAX),
        secret: Some(secret),
        public_key: None,
        own_number: None,
        request_id: None,
    })
}

/// Whether `caller`, who was known when a request began, may still do what it began: their token or key has not expired, nor
/// was the key revoked or its secret changed, nor has the platform taken back the key that signed their token. A stream would
/// outlast them otherwise.
pub(super) fn still_allowed(state: &State, caller: &Caller, right: Right) -> bool {
    let now = state.app.now_ms();
    let is_key_good = |secret: &SecretHash| {
        let key = KeySid::parse(caller.name()).ok().and_then(|sid| state.app.api_keys.find(&sid));
        key.and_then(|key| key.good_until(secret)).is_some_and(|end| now < end)
    };
    caller.role.may(right)
        && caller.expires_at.is_none_or(|end| now < end)
        && caller.secret.as_ref().is_none_or(is_key_good)
        && caller.public_key.as_ref().is_none_or(|key| state.authenticator.public_keys.load().hold(key))
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who they are: a token's `sub`, an API key's SID, or the name of one of the configuration.
    pub principal: Principal,
    /// Their role.
    pub role: Role,
    /// Their organization.
    pub organization: Organization,
    /// When they are no longer who they are, if ever: the end of their token, with the skew of clocks that is granted, or of
    /// their key.
    pub expires_at: Option<UnixMs>,
    /// With which secret they signed in, if it is a key of the store.
    pub secret: Option<SecretHash>,
    /// Which public key has signed their token, by its thumbprint, if one has.
    pub public_key: Option<String>,
    /// Their own number, if their token says so; as it is written there.
    pub own_number: Option<String>,
    /// What their request is called, if it has a name.
    pub request_id: Option<String>,
}

impl Caller {
    /// What they are called: told apart from others by [`Caller::principal`] alone.
    pub fn name(&self) -> &str {
        &self.principal.name
    }

    /// Who asks for what this request asks for, as the audit has it.
    pub fn origin(&self) -> Origin {
        Origin::new(&self.principal, self.request_id.clone())
    }

    /// Refuses a caller whose role is not enough.
    pub fn require(&self, right: Right) -> Result<(), Problem> {
        if self.role.may(right) { Ok(()) } else { Err(Problem::forbidden(self.role)) }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<State>>().ok_or_else(Problem::unauthorized)?;
            let caller = match bearer(&request) {
                Some(bearer) => authenticate(state, bearer).await,
                None => Err(SignInRefusal::NoCredentials),
            };
            admit(state, &request, caller)
        })
    }
}

/// The caller, if there is one and they do not call too often.
pub(super) fn admit(
    state: &State,
    request: &HttpRequest,
    caller: Result<Caller, SignInRefusal>,
) -> Result<Caller, Problem> {
    let caller = caller.map_err(|refusal| state.sign_ins.refuse(state, request, refusal))?;
    let caller = Caller { request_id: request_id::of(request), ..caller };
    connections::prove(request, Proof::Caller);
    request.extensions_mut().insert(caller.principal.clone());
    match state.rate_limit.count(&caller) {
        Ok(()) => Ok(caller),
        Err(problem) => {
            state.sign_ins.note_rate(state, request);
            Err(problem)
        }
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, bearer) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !bearer.trim().is_empty()).then(|| bearer.trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{EncodingKey, Header};
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW_S: u64 = 1_800_000_000;
    const NOW: UnixMs = UnixMs::new(NOW_S * 1_000);

    fn claims(exp: u64) -> Claims {
        Claims::new("ada", Role::Sender, Organization::default(), exp)
    }

    fn authenticator(rules: TokenRules) -> Authenticator {
        Authenticator::new(&SECRET.into(), rules, PublicKeys::default(), Vec::new())
    }

    fn signed(header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    /// A good token's claims with `extra` ones; null takes one out.
    fn with(extra: &Value) -> String {
        let mut claims = serde_json::to_value(claims(NOW_S + 60)).unwrap();
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        signed(&Header::default(), &claims)
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_only_under_its_secret() {
        let authenticator = authenticator(TokenRules::default());
        let refusal = |token: &str| authenticator.authenticate(token, NOW).unwrap_err();
        let secret = SECRET.into();
        let token = mint(&secret, &claims(NOW_S + 60));
        let caller = authenticator.authenticate(&token, NOW).unwrap();
        assert_eq!((caller.name(), caller.role), ("ada", Role::Sender));
        assert_eq!(caller.expires_at, Some(UnixMs::new((NOW_S + 65) * 1_000)));
        assert_eq!(refusal(&mint(&secret, &claims(NOW_S - 6))), SignInRefusal::ExpiredToken);
        assert_eq!(refusal(&mint(&"other".into(), &claims(NOW_S + 60))), SignInRefusal::BadToken);
        assert_eq!(refusal(&format!("{token}x")), SignInRefusal::BadToken);
        let (header, _) = token.split_once('.').unwrap();
        assert_eq!(refusal(&format!("{header}.e30.")), SignInRefusal::BadToken);
        // {"alg":"none"} with the same claims.
        let unsigned = token.split('.').nth(1).unwrap();
        assert_eq!(refusal(&format!("eyJhbGciOiJub25lIn0.{unsigned}.")), SignInRefusal::BadToken);
    }

    #[test]
    fn a_number_in_a_token_is_the_users_own_unless_it_is_not_verified() {
        let authenticator = authenticator(TokenRules::default());
        let own_number = |extra| authenticator.authenticate(&with(&extra), NOW).unwrap().own_number;
        assert_eq!(own_number(json!({ "phone_number": "+14155550100" })).as_deref(), Some("+14155550100"));
        for unknown in [
            json!({}),
            json!({ "phone_number": null }),
            json!({ "phone_number": 14_155_550_100_u64 }),
            json!({ "phone_number": "+14155550100", "phone_number_verified": false }),
        ] {
            assert_eq!(own_number(unknown), None);
        }
    }

    #[test]
    fn claims_of_a_wrong_type_or_size_are_refused() {
        let authenticator = authenticator(TokenRules::default());
        for good in [
            json!({ "org": null }),
            json!({ "nbf": 1 }),
            json!({ "nbf": null, "iat": null }),
            json!({ "iat": NOW_S + 1_000 }),
            json!({ "sub": "a".repeat(255) }),
            json!({ "iss": 7, "aud": {} }),
            json!({ "exp": 253_402_300_799_u64 }),
        ] {
            assert!(authenticator.authenticate(&with(&good), NOW).is_ok(), "{good}");
        }
        for wrong in [
            json!({ "exp": null }),
            json!({ "exp": "1900000000" }),
            json!({ "exp": 1_900_000_000.5 }),
            json!({ "exp": -1 }),
            json!({ "exp": 1_u64 << 63 }),
            json!({ "exp": 253_402_300_800_u64 }),
            json!({ "nbf": NOW_S + 60 }),
            json!({ "nbf": "1" }),
            json!({ "iat": 1.5 }),
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": 7 }),
            json!({ "sub": "a".repeat(256) }),
            json!({ "sub": "a\nb" }),
            json!({ "org": "a b" }),
            json!({ "org": "*" }),
            json!({ "org": ["default"] }),
            json!({ "role": "king" }),
            json!({ "role": null }),
        ] {
            let refused = authenticator.authenticate(&with(&wrong), NOW);
            assert_eq!(refused, Err(SignInRefusal::BadToken), "{wrong}");
        }
        let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::default() };
        let claims = serde_json::to_value(claims(NOW_S + 60)).unwrap();
        assert_eq!(
            authenticator.authenticate(&signed(&critical, &claims), NOW),
            Err(SignInRefusal::BadToken)
        );
    }

    #[test]
    fn what_a_token_must_say_besides_is_a_matter_of_settings() {
        let rules = TokenRules {
            issuer: Some("https://id.example.com".to_owned()),
            audience: Some("textledger".to_owned()),
            requires_org: true,
            max_age: Some(Duration::from_secs(3_600)),
        };
        let authenticator = authenticator(rules.clone());
        let good = json!({ "iss": "https://id.example.com", "aud": "textledger", "org": "acme" });
        let but = |change: Value| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            authenticator.authenticate(&with(&claims), NOW)
        };
        for good in [
            json!({}),
            json!({ "aud": ["other", "textledger"] }),
            json!({ "iat": NOW_S - 1_000 }),
            json!({ "iat": NOW_S + 5 }),
        ] {
            assert!(but(good.clone()).is_ok(), "{good}");
        }
        for wrong in [
            json!({ "iss": null }),
            json!({ "iss": "https://id.example.com/" }),
            json!({ "iss": ["https://id.example.com"] }),
            json!({ "aud": null }),
            json!({ "aud": "textledger2" }),
            json!({ "aud": ["other"] }),
            json!({ "aud": [] }),
            json!({ "org": null }),
            json!({ "exp": NOW_S + 3_606 }),
            json!({ "iat": NOW_S - 3_600 }),
            json!({ "iat": NOW_S + 1_000, "exp": NOW_S + 3_606 }),
            json!({ "iat": NOW_S + 6 }),
        ] {
            assert_eq!(but(wrong.clone()), Err(SignInRefusal::BadToken), "{wrong}");
        }
        // What is minted for these rules is good under them.
        let minted = rules.mint(&SECRET.into(), &claims(NOW_S + 60));
        assert!(authenticator.authenticate(&minted, NOW).is_ok());
        assert!(authenticator.authenticate(&mint(&SECRET.into(), &claims(NOW_S + 60)), NOW).is_err());
    }

    #[test]
    fn an_api_key_is_a_caller_of_the_default_organization() {
        let hash = String::from(SecretHash::of("s3cret"));
        let key = ApiKey::parse(&format!("crm:viewer:{hash}")).unwrap();
        let authenticator =
            Authenticator::new(&SECRET.into(), TokenRules::default(), PublicKeys::default(), vec![key]);
        let caller = authenticator.authenticate("s3cret", NOW).unwrap();
        assert_eq!((caller.name(), caller.role), ("crm", Role::Viewer));
        assert_eq!(caller.organization, Organization::default());
        for unknown in ["secret", "", KeySid::of([1; 16]).secret([2; 32]).expose_secret()] {
            assert_eq!(authenticator.authenticate(unknown, NOW), Err(SignInRefusal::UnknownKey));
        }
    }
}
