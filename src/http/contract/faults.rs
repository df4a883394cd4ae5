//! The faults of a request, one for each field.

use crate::http::problem::{FieldError, Problem};

/// The most faults that are listed: more than a caller mends at once, and few enough that a body of nothing but faults
/// costs little.
const FAULTS_MAX: usize = 50;

/// The longest name of a field that a fault repeats, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub struct Faults {
    listed: Vec<FieldError>,
    are_more: bool,
}

impl Faults {
    /// Adds that `field` is wrong. What was found first of a field stands.
    pub fn add(&mut self, field: &str, detail: impl Into<String>) {
        // A name is the caller's own text; a long one is not repeated.
        let field: String = field.chars().take(NAME_CHARACTERS_MAX).collect();
        if self.listed.iter().any(|listed| listed.field == field) {
            return;
        }
        if self.listed.len() == FAULTS_MAX {
            self.are_more = true;
        } else {
            self.listed.push(FieldError { field, detail: detail.into() });
        }
    }

    /// Adds what is wrong with the fields of the object `field`.
    pub fn add_all_of(&mut self, field: &str, inner: Faults) {
        for fault in inner.listed {
            self.add(&format!("{field}.{}", fault.field), fault.detail);
        }
        self.are_more |= inner.are_more;
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether no further one would be listed.
    pub fn are_enough(&self) -> bool {
        self.are_more
    }

    /// Those that are listed, in the order in which they were found.
    pub fn into_listed(self) -> Vec<FieldError> {
        self.listed
    }

    /// `Ok` if nothing is wrong.
    pub fn into_result(self) -> Result<(), Problem> {
        match self {
            faults if faults.is_empty() => Ok(()),
            Self { listed, are_more: false } => Err(Problem::invalid_fields(listed)),
            Self { listed, are_more: true } => Err(Problem::the_first_invalid_fields(listed)),
        }
    }
}

/// Why a value is wrong.
pub enum Fault {
    /// The value itself, in words that follow its field's name.
    Itself(String),
    /// Fields inside of it.
    Inside(Faults),
}

impl Fault {
    /// The fault in one sentence.
    pub fn into_detail(self) -> String {
        match self {
            Fault::Itself(detail) => detail,
            Fault::Inside(faults) => {
                let fields = faults.into_listed().into_iter();
                fields.map(|fault| format!("{} {}", fault.field, fault.detail)).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

impl<T: Into<String>> From<T> for Fault {
    fn from(detail: T) -> Self {
        Fault::Itself(detail.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_fault_and_a_request_no_more_than_are_listed() {
        let mut faults = Faults::default();
        faults.add("to", "first");
        faults.add("to", "second");
        for number in 0..FAULTS_MAX {
            assert!(!faults.are_enough());
            faults.add(&number.to_string(), "wrong");
        }
        assert!(faults.are_enough());
        let problem = faults.into_result().unwrap_err();
        assert!(problem.detail().starts_with("invalid fields: to, 0, "), "{}", problem.detail());
        assert!(problem.detail().ends_with(" and further ones"), "{}", problem.detail());
    }

    #[test]
    fn faults_inside_of_an_object_are_named_by_their_path() {
        let (mut outer, mut inner) = (Faults::default(), Faults::default());
        inner.add("after_s", "must be given");
        outer.add_all_of("fallback", inner);
        assert_eq!(outer.into_listed()[0].field, "fallback.after_s");
    }
}
