//! A catalog from a backup learns what the ring knows of tenants.
//!
//! # Promise
//! Whoever was offboarded after the backup is offboarded again: his tokens are revoked, what was his is told as gone. No number
//! up to the highest that ever was punctured is given again: its key, or what was wrapped with it, belongs to somebody else.
//! Done before the catalog's watermark is set, and again after a crash, with the same result.

use super::{Expire, ExpireError, failed};
use crate::catalog::{CatalogError, NewTenant};
use crate::keyring::{Destroyed, Present};
use crate::model::{Slug, TenantNumber, Term, Timestamp};

impl Expire {
    pub(super) async fn learn_tenants(&self, present: &Present, now: Timestamp) -> Result<(), ExpireError> {
        let last_dead = present.last_dead_tenant().unwrap_or(TenantNumber(0));
        let is_dead = |number| present.is_without([Destroyed::Tenant(number)]);
        let known = self.catalog.tenants().await.map_err(failed)?;
        let mut last = TenantNumber(0);
        for tenant in known {
            last = last.max(tenant.number);
            if is_dead(tenant.number) && tenant.offboarded_at.is_none() {
                self.offboard_again(tenant.number, now).await?;
            }
        }
        while last < last_dead {
            last = self.stand_in(TenantNumber(last.0 + 1), now).await?;
            if is_dead(last) {
                self.offboard_again(last, now).await?;
            }
        }
        Ok(())
    }

    async fn offboard_again(&self, tenant: TenantNumber, now: Timestamp) -> Result<(), ExpireError> {
        tracing::warn!(
            tenant.number = tenant.0,
            "offboarded after the backup from which the catalog came; offboarded again"
        );
        self.catalog.offboard_tenant(tenant, now).await.map_err(failed)
    }

    /// A row for a number that was given after the backup, to whom nobody knows any more.
    async fn stand_in(&self, number: TenantNumber, now: Timestamp) -> Result<TenantNumber, ExpireError> {
        for attempt in 0.. {
            let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let slug: Slug = format!("lost-{}{suffix}", number.0).parse().expect("a slug of letters, digits and '-'");
            let terms = Term::Days(30);
            let tenant = NewTenant {
                name: format!("was made after the backup from which the catalog came, as tenant {}", number.0),
                slug,
                recording: false,
                customer_term: terms,
                training_term: terms,
                cdr_term: terms,
                created_at: now,
            };
            match self.catalog.create_tenant(tenant).await {
                Err(CatalogError::SlugTaken) => continue,
                made => return made.map(|made| made.number).map_err(failed),
            }
        }
        unreachable!("a slug is free before numbers end")
    }
}
