//! [`Access`] on PostgreSQL: who may do what.

mod links;
mod people;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;

use super::{Postgres, write};
use crate::catalog::{
    Access, Asked, Bearer, Confirmation, LinkRow, LinkSession, Person, PersonChange, Result, TokenKey, TokenRow,
};
use crate::model::{LinkId, PersonId, TenantNumber, Timestamp, TokenId};

#[async_trait]
impl Access for Postgres {
    async fn create_token(&self, token: TokenRow) -> Result<()> {
        write!(self, (token) => tokens::create(&db, token), db)
    }

    async fn token(&self, by: TokenKey) -> Result<Option<Bearer>> {
        let by = &by;
        self.pool.read(|db| async move { tokens::bearer(&db, by).await }).await
    }

    async fn tokens(&self, tenant: Option<TenantNumber>) -> Result<Vec<TokenRow>> {
        self.pool.read(|db| async move { tokens::all(&db, tenant).await }).await
    }

    async fn revoke_token(&self, id: TokenId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| async move { tokens::revoke(&db, id, at).await }).await
    }

    async fn touch_token(&self, id: TokenId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| async move { tokens::touch(&db, id, at).await }).await
    }

    async fn create_person(&self, person: Person) -> Result<()> {
        write!(self, (person) => people::create(&db, person), db)
    }

    async fn person(&self, id: PersonId) -> Result<Option<Person>> {
        self.pool.read(|db| async move { people::by_id(&db, id).await }).await
    }

    async fn person_by_subject(&self, subject: &str) -> Result<Option<Person>> {
        self.pool.read(|db| async move { people::by_subject(&db, subject).await }).await
    }

    async fn people(&self) -> Result<Vec<Person>> {
        self.pool.read(|db| async move { people::all(&db).await }).await
    }

    async fn set_person(&self, id: PersonId, change: PersonChange) -> Result<Person> {
        write!(self, (id, change) => people::set(&db, *id, change), db)
    }

    async fn create_link(&self, link: LinkRow) -> Result<()> {
        write!(self, (link) => links::create(&db, link), db)
    }

    async fn link(&self, id: LinkId) -> Result<Option<LinkRow>> {
        self.pool.read(|db| async move { links::by_id(&db, id).await }).await
    }

    async fn revoke_link(&self, id: LinkId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| async move { links::revoke(&db, id, at).await }).await
    }

    async fn use_link(&self, session: LinkSession) -> Result<bool> {
        let known = &session;
        if self.pool.read(|db| async move { links::plays(&db, known).await }).await? {
            return Ok(true);
        }
        write!(self, (session) => links::play(&db, session), db)
    }

    async fn ask(&self, asked: Asked) -> Result<Confirmation> {
        write!(self, (asked) => people::ask(&db, asked), db)
    }
}
