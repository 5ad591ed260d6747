//! [`Access`] on SQLite: who may do what.

mod links;
mod people;
mod tokens;

use async_trait::async_trait;

use super::Sqlite;
use crate::catalog::{
    Access, Asked, Bearer, Confirmation, LinkRow, LinkSession, Person, PersonChange, Result, TokenKey, TokenRow,
};
use crate::model::{LinkId, PersonId, TenantNumber, Timestamp, TokenId};

#[async_trait]
impl Access for Sqlite {
    async fn create_token(&self, token: TokenRow) -> Result<()> {
        self.write(move |db| tokens::create(db, &token)).await
    }

    async fn token(&self, by: TokenKey) -> Result<Option<Bearer>> {
        self.look_up(move |db| tokens::bearer(db, &by)).await
    }

    async fn tokens(&self, tenant: Option<TenantNumber>) -> Result<Vec<TokenRow>> {
        self.read(move |db| tokens::all(db, tenant)).await
    }

    async fn revoke_token(&self, id: TokenId, at: Timestamp) -> Result<()> {
        self.write(move |db| tokens::revoke(db, id, at)).await
    }

    async fn touch_token(&self, id: TokenId, at: Timestamp) -> Result<()> {
        self.write(move |db| tokens::touch(db, id, at)).await
    }

    async fn create_person(&self, person: Person) -> Result<()> {
        self.write(move |db| people::create(db, &person)).await
    }

    async fn person(&self, id: PersonId) -> Result<Option<Person>> {
        self.look_up(move |db| people::by_id(db, id)).await
    }

    async fn person_by_subject(&self, subject: &str) -> Result<Option<Person>> {
        let subject = subject.to_owned();
        self.look_up(move |db| people::by_subject(db, &subject)).await
    }

    async fn people(&self) -> Result<Vec<Person>> {
        self.read(people::all).await
    }

    async fn set_person(&self, id: PersonId, change: PersonChange) -> Result<Person> {
        self.write(move |db| people::set(db, id, &change)).await
    }

    async fn create_link(&self, link: LinkRow) -> Result<()> {
        self.write(move |db| links::create(db, &link)).await
    }

    async fn link(&self, id: LinkId) -> Result<Option<LinkRow>> {
        self.look_up(move |db| links::by_id(db, id)).await
    }

    async fn revoke_link(&self, id: LinkId, at: Timestamp) -> Result<()> {
        self.write(move |db| links::revoke(db, id, at)).await
    }

    async fn use_link(&self, session: LinkSession) -> Result<bool> {
        let known = session.clone();
        if self.look_up(move |db| links::plays(db, &known)).await? {
            return Ok(true);
        }
        self.write(move |db| links::play(db, &session)).await
    }

    async fn ask(&self, asked: Asked) -> Result<Confirmation> {
        self.write(move |db| people::ask(db, &asked)).await
    }
}
