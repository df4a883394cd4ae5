//! A service as one organization uses it.

use std::ops::Deref;

use crate::domain::Organization;

/// A service and the organization that it is used for: whatever it does, it does for that one.
#[derive(Debug)]
pub struct Scope<'a, S> {
    service: &'a S,
    /// Whose data it works on.
    pub organization: &'a Organization,
}

impl<S> Clone for Scope<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Scope<'_, S> {}

impl<S> Deref for Scope<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.service
    }
}

/// Gives each service its way into a scope.
macro_rules! scoped {
    ($($service:ty),+ $(,)?) => {
        $(impl $service {
            /// The service for `organization`.
            pub fn of<'a>(&'a self, organization: &'a $crate::domain::Organization) -> $crate::app::Scope<'a, Self> {
                $crate::app::Scope::new(self, organization)
            }
        })+
    };
}

pub(in crate::app) use scoped;

impl<'a, S> Scope<'a, S> {
    pub(super) fn new(service: &'a S, organization: &'a Organization) -> Self {
        Self { service, organization }
    }
}
