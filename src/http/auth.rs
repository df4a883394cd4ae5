//! Who calls: bearer tokens, which are JWTs or API keys.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, JwkSet},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{State, problem::Problem, request_id};
/// What a door asks of its [`Caller`].
pub use crate::domain::Right;
use crate::domain::{ApiKey, Organization, Principal, Role, audit::Origin};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// Their role.
    pub role: Role,
    /// Their organization, `default` if left out.
    #[serde(default, deserialize_with = "default_if_null")]
    pub org: Organization,
    /// When the token expires: seconds since 1970.
    pub exp: u64,
    /// The user's own number, if whoever made the token knows it.
    #[serde(default, deserialize_with = "text_or_none", skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// What OpenID Connect says of the number: `false` if nobody has verified it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub phone_number_verified: Value,
}

impl Claims {
    /// A token's claims that say nothing of a number.
    pub fn new(sub: impl Into<String>, role: Role, org: Organization, exp: u64) -> Self {
        let (sub, phone_number, phone_number_verified) = (sub.into(), None, Value::Null);
        Self { sub, role, org, exp, phone_number, phone_number_verified }
    }

    /// The number that is the user's own, by the word of whoever made the token.
    fn own_number(self) -> Option<String> {
        self.phone_number.filter(|_| self.phone_number_verified != false)
    }
}

fn default_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Organization, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What is no text is none: tokens of other platforms may have anything here.
fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().map(str::to_owned))
}

/// A JWKS file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("TEXTLEDGER_JWKS_FILE must be a JSON Web Key Set with RSA, P-256 or Ed25519 public keys: {0}")]
pub struct InvalidJwks(String);

/// Checks tokens and keys.
pub struct Authenticator {
    secret: DecodingKey,
    public_keys: Vec<PublicKey>,
    api_keys: Vec<ApiKey>,
}

struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Authenticator {
    /// Tokens signed with `secret` (HS256) or one of the keys of `jwks` (a JSON Web Key Set), and `api_keys`.
    pub fn new(
        secret: &SecretString,
        jwks: Option<&str>,
        api_keys: Vec<ApiKey>,
    ) -> Result<Self, InvalidJwks> {
        let public_keys = match jwks {
            Some(text) => public_keys(text)?,
            None => Vec::new(),
        };
        let secret = DecodingKey::from_secret(secret.expose_secret().as_bytes());
        Ok(Self { secret, public_keys, api_keys })
    }

    /// Who `bearer` is; `None` if nobody.
    pub(super) fn authenticate(&self, bearer: &str) -> Option<Caller> {
        if let Some(key) = self.api_keys.iter().find(|key| key.matches(bearer)) {
            let organization = Organization::default();
            let principal = Principal::api_key(&key.name);
            return Some(Caller {
                principal,
                role: key.role,
                organization,
                own_number: None,
                request_id: None,
            });
        }
        let header = jsonwebtoken::decode_header(bearer).ok()?;
        let key = match header.alg {
            Algorithm::HS256 => &self.secret,
            algorithm => {
                let named = |key: &&PublicKey| {
                    key.algorithm == algorithm && (header.kid.is_none() || key.id == header.kid)
                };
                &self.public_keys.iter().find(named)?.key
            }
        };
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = CLOCK_SKEW_MAX_S;
        let claims = jsonwebtoken::decode::<Claims>(bearer, key, &validation).ok()?.claims;
        Some(Caller {
            principal: Principal::user(&claims.sub),
            role: claims.role,
            organization: claims.org.clone(),
            own_number: claims.own_number(),
            request_id: None,
        })
    }
}

/// How long after its expiry a token is still taken, for clocks that differ: seconds.
const CLOCK_SKEW_MAX_S: u64 = 5;

fn public_keys(text: &str) -> Result<Vec<PublicKey>, InvalidJwks> {
    let set: JwkSet = serde_json::from_str(text).map_err(|error| InvalidJwks(error.to_string()))?;
    let keys = set.keys.iter().map(|jwk| {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
            _ => return Err(InvalidJwks("a key of another kind".to_owned())),
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|error| InvalidJwks(error.to_string()))?;
        Ok(PublicKey { id: jwk.common.key_id.clone(), algorithm, key })
    });
    keys.collect()
}

/// Signs a token with the service's own secret (HS256).
pub fn mint(secret: &SecretString, claims: &Claims) -> String {
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key)
        .expect("claims of texts and numbers sign with HS256")
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who they are: a token's `sub`, or an API key's name.
    pub principal: Principal,
    /// Their role.
    pub role: Role,
    /// Their organization.
    pub organization: Organization,
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
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(known(request, authenticate(request)))
    }
}

/// The caller, if there is one and they do not call too often.
pub(super) fn known(request: &HttpRequest, caller: Option<Caller>) -> Result<Caller, Problem> {
    let Some(state) = request.app_data::<web::Data<State>>() else { return Err(Problem::unauthorized()) };
    match caller {
        Some(caller) => {
            let caller = Caller { request_id: request_id::of(request), ..caller };
            state.rate_limit.count(&caller).map(|()| caller)
        }
        None => {
            let peer = request.peer_addr().map(|peer| peer.ip());
            state.rate_limit.count_unknown(peer).and(Err(Problem::unauthorized()))
        }
    }
}

fn authenticate(request: &HttpRequest) -> Option<Caller> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, bearer) = header.split_once(' ')?;
    let state = request.app_data::<web::Data<State>>()?;
    scheme.eq_ignore_ascii_case("bearer").then(|| state.authenticator.authenticate(bearer.trim()))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::*;

    const NOW: u64 = 4_000_000_000;

    fn claims(exp: u64) -> Claims {
        Claims::new("ada", Role::Sender, Organization::default(), exp)
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_only_under_its_secret() {
        let secret: SecretString = "0123456789abcdef0123456789abcdef".into();
        let authenticator = Authenticator::new(&secret, None, Vec::new()).unwrap();
        let token = mint(&secret, &claims(NOW));
        let caller = authenticator.authenticate(&token).unwrap();
        assert_eq!((caller.name(), caller.role), ("ada", Role::Sender));
        assert!(authenticator.authenticate(&mint(&secret, &claims(1))).is_none());
        assert!(authenticator.authenticate(&mint(&"other".into(), &claims(NOW))).is_none());
        assert!(authenticator.authenticate(&format!("{token}x")).is_none());
        let with = |extra: serde_json::Value| {
            let mut claims = serde_json::to_value(claims(NOW)).unwrap();
            claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
            jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
        };
        assert!(authenticator.authenticate(&with(json!({ "org": null }))).is_some());
        let own_number = |extra| authenticator.authenticate(&with(extra)).unwrap().own_number;
        assert_eq!(own_number(json!({ "phone_number": "+14155550100" })).as_deref(), Some("+14155550100"));
        for unknown in [
            json!({}),
            json!({ "phone_number": null }),
            json!({ "phone_number": 14_155_550_100_u64 }),
            json!({ "phone_number": "+14155550100", "phone_number_verified": false }),
        ] {
            assert_eq!(own_number(unknown), None);
        }
        assert!(authenticator.authenticate(&with(json!({ "nbf": 1 }))).is_some());
        assert!(authenticator.authenticate(&with(json!({ "nbf": NOW - 1 }))).is_none());
        let (header, _) = token.split_once('.').unwrap();
        assert!(authenticator.authenticate(&format!("{header}.e30.")).is_none());
        // {"alg":"none"} with the same claims.
        let unsigned = token.split('.').nth(1).unwrap();
        assert!(authenticator.authenticate(&format!("eyJhbGciOiJub25lIn0.{unsigned}.")).is_none());
    }

    #[test]
    fn an_api_key_is_a_caller_of_the_default_organization() {
        let hash = hex::encode(Sha256::digest("s3cret"));
        let key = ApiKey::parse(&format!("crm:viewer:{hash}")).unwrap();
        let authenticator = Authenticator::new(&"x".into(), None, vec![key]).unwrap();
        let caller = authenticator.authenticate("s3cret").unwrap();
        assert_eq!((caller.name(), caller.role), ("crm", Role::Viewer));
        assert_eq!(caller.organization, Organization::default());
        assert!(authenticator.authenticate("secret").is_none());
    }
}
