//! Bearer tokens: JWTs of our own secret (HS256), or of the platform that issues them (RS256, ES256, EdDSA).
//!
//! Every claim is read here and by one reader, so that no two libraries can understand a token differently.

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Caller, jwks::PublicKeys};
use crate::{
    domain::{Organization, Principal, Role, UnixMs},
    http::contract::kinds::USER_CHARACTERS_MAX,
    metrics::SignInRefusal,
};

/// How long after its expiry a token is still taken, and how long before its beginning, for clocks that differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// The first second of the year 10000: an `exp` beyond it is a mistake of whoever issued the token, or no end at all.
const EXP_END_S: u64 = 253_402_300_800;

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

/// What a token must say besides, so that one that was made for another service is not good here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` of every token, if it must have one.
    pub issuer: Option<String>,
    /// What the `aud` of every token is, or holds, if it must have one.
    pub audience: Option<String>,
    /// Whether a token must name its organization.
    pub requires_org: bool,
    /// The longest time until a token expires, if there is one: counted from now, and from its `iat` if it has one, which has
    /// to be in the past then.
    pub max_age: Option<Duration>,
}

impl TokenRules {
    /// Signs a token with the service's own secret (HS256), with what these rules demand.
    pub fn mint(&self, secret: &SecretString, claims: &Claims) -> String {
        let claims = serde_json::to_value(claims).expect("claims have string keys");
        let Value::Object(mut claims) = claims else { unreachable!("claims are an object") };
        let demanded = [("iss", &self.issuer), ("aud", &self.audience)];
        let demanded = demanded.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        claims.extend(demanded.map(|(name, value)| (name.to_owned(), value.into())));
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key)
            .expect("claims of texts and numbers sign with HS256")
    }

    /// The caller whom `claims` name at `now`.
    fn read(&self, claims: Map<String, Value>, now: UnixMs) -> Result<Caller, SignInRefusal> {
        let refused = SignInRefusal::BadToken;
        let seconds = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(refused),
        };
        let (begins, issued) = (seconds("nbf")?, seconds("iat")?);
        let names_org = claims.get("org").is_some_and(|org| !org.is_null());
        let is_issuer = |wanted: &String| claims.get("iss").and_then(Value::as_str) == Some(wanted);
        let is_audience = |wanted: &String| match claims.get("aud") {
            Some(Value::String(audience)) => audience == wanted,
            Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == wanted),
            _ => false,
        };
        let is_for_us = self.issuer.as_ref().is_none_or(is_issuer)
            && self.audience.as_ref().is_none_or(is_audience)
            && (names_org || !self.requires_org);
        let claims: Claims = serde_json::from_value(claims.into()).map_err(|_| refused)?;
        let is_name = (1..=USER_CHARACTERS_MAX).contains(&claims.sub.chars().count())
            && !claims.sub.chars().any(char::is_control);
        if !is_for_us || !is_name || claims.exp >= EXP_END_S {
            return Err(refused);
        }
        let skew_s = CLOCK_SKEW_MAX.as_secs();
        if begins.is_some_and(|begins| begins > now.as_secs().saturating_add(skew_s)) {
            return Err(refused);
        }
        let expires_at = UnixMs::new(claims.exp.saturating_mul(1_000)) + CLOCK_SKEW_MAX;
        if expires_at <= now {
            return Err(SignInRefusal::ExpiredToken);
        }
        if let Some(max_age) = self.max_age {
            let (now_s, longest_s) = (now.as_secs(), max_age.as_secs().saturating_add(skew_s));
            let issued = issued.unwrap_or(now_s);
            let is_of_future = issued > now_s.saturating_add(skew_s);
            if is_of_future || claims.exp.saturating_sub(issued.min(now_s)) > longest_s {
                return Err(refused);
            }
        }
        Ok(Caller {
            principal: Principal::user(&claims.sub),
            role: claims.role,
            organization: claims.org.clone(),
            expires_at: Some(expires_at),
            secret: None,
            public_key: None,
            own_number: claims.own_number(),
            request_id: None,
        })
    }
}

/// Signs a token with the service's own secret (HS256), for a service that demands nothing besides.
pub fn mint(secret: &SecretString, claims: &Claims) -> String {
    TokenRules::default().mint(secret, claims)
}

/// Tells good tokens from others.
pub(super) struct Tokens {
    secret: DecodingKey,
    rules: TokenRules,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?})", self.rules)
    }
}

impl Tokens {
    pub(super) fn new(secret: &SecretString, rules: TokenRules) -> Self {
        Self { secret: DecodingKey::from_secret(secret.expose_secret().as_bytes()), rules }
    }

    /// The caller whom `token` names at `now`; one that is not signed with our own secret has to be by one of
    /// `public_keys`.
    pub(super) fn verify(
        &self,
        token: &str,
        public_keys: &PublicKeys,
        now: UnixMs,
    ) -> Result<Caller, SignInRefusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| SignInRefusal::BadToken)?;
        // What a header says is critical must be understood (RFC 7515, 4.1.11), and nothing that can stand there is.
        if header.crit.is_some() {
            return Err(SignInRefusal::BadToken);
        }
        // The algorithm chooses the kind of key, so that no public key is ever used as a secret.
        let signed = match header.alg {
            Algorithm::HS256 => signed_claims(token, &self.secret, header.alg).map(|claims| (claims, None)),
            algorithm => public_keys.candidates(algorithm, header.kid.as_deref()).find_map(|public| {
                let claims = signed_claims(token, &public.key, algorithm)?;
                Some((claims, Some(public.thumbprint.clone())))
            }),
        };
        let (claims, public_key) = signed.ok_or(SignInRefusal::BadToken)?;
        Ok(Caller { public_key, ..self.rules.read(claims, now)? })
    }
}

/// The claims of `token`, if `key` has signed them. What they say is checked elsewhere.
fn signed_claims(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    Some(jsonwebtoken::decode(token, key, &validation).ok()?.claims)
}

/// The `kid` that `token` names, if it can be read.
pub(super) fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}
