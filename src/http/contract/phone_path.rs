//! The phone number in a path.

use super::{Declared, Fields, Read, kinds, schema::parameters};

/// A path that names a person by a phone number.
pub struct PhonePath {
    /// The number as it was typed.
    pub phone: String,
}

impl Declared for PhonePath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let phone = fields.required(
            "phone",
            "A number in E.164, or of the default region.",
            kinds::typed_phone_number(),
        );
        Ok(Self { phone: phone? })
    }
}

parameters!(Path: PhonePath);
