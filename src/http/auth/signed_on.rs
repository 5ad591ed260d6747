//! A person by single sign-on: his access token says who he is and what he may, his row in the catalog whether he still does.

use std::net::IpAddr;

use super::{Known, not_looked_up, unknown};
use crate::http::Face;
use crate::model::{Error, PrincipalKind, Problem, Result};
use crate::sso::Refused;

impl Face {
    /// `named`: the tenant that the request names.
    pub(super) async fn identify_signed_on(
        &self,
        token: &str,
        named: Option<String>,
        address: Option<IpAddr>,
    ) -> Result<Known> {
        let sign_on = self.sign_on.as_ref().ok_or_else(unknown)?;
        let verified = sign_on.verify(token).await.map_err(|refused| match refused {
            Refused::Invalid(_) => unknown(),
            Refused::Unavailable => {
                let detail =
                    "the provider of the single sign-on does not answer; try again, or use a token of this vault";
                Error::new(Problem::Unavailable, detail).because(refused)
            }
        })?;
        let person = self.catalog.person_by_subject(&verified.subject).await.map_err(not_looked_up)?;
        let person = person.ok_or_else(|| {
            let detail = "nobody here is who this token is for: whoever administers the vault puts its 'iss' and 'sub' on \
                          record, 'callvault person add --name NAME --subject \"<iss> <sub>\"'";
            Error::new(Problem::NotCleared, detail)
        })?;
        if person.disabled_at.is_some() {
            return Err(unknown());
        }
        Ok(Known {
            kind: PrincipalKind::Person,
            token: None,
            person: Some(person),
            scopes: verified.scopes,
            bound_to: None,
            may_name: verified.tenants,
            named,
            address,
            expires_at: None,
        })
    }
}
