//! The phone number, or the person, in a path.

use super::{Declared, Fields, Read, kinds, schema::parameters};

/// A path that names a phone number.
pub struct PhonePath {
    /// The number as it was typed.
    pub phone: String,
}

impl Declared for PhonePath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "A number in E.164, or of the default region.";
        let phone = fields.required("phone", meaning, kinds::typed_phone_number());
        Ok(Self { phone: phone? })
    }
}

/// A path that names a person by any address.
pub struct PersonPath {
    /// The address as it was typed.
    pub phone: String,
}

impl Declared for PersonPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "A number in E.164, or of the default region; a short code; or a WhatsApp user id.";
        let phone = fields.required("phone", meaning, kinds::typed_phone_number());
        Ok(Self { phone: phone? })
    }
}

parameters!(Path: PhonePath, PersonPath);
