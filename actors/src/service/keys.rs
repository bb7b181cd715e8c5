//! API keys: who calls, and the making of new keys.

use steward_storage::StoreExt;
use steward_types::{ErrorCode, ProjectId};

use super::idempotency::check_key;
use super::{Failure, Reach, Steward, error::unexpected};
use crate::host::EntityId;
use crate::project::{ApiKey, ApiKeyText, CreateKey, Project, ProjectRequest, ProjectResponse, Role, key_row, read};

/// Who calls: a good key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's id.
    pub key: String,
    /// Its project; absent for an operator's key.
    pub project: Option<ProjectId>,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// Whose things it may see.
    pub fn reach(&self) -> Reach {
        self.project.clone().map_or(Reach::Everything, Reach::Project)
    }
}

/// A key that was just made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key.
    pub key: ApiKey,
    /// Its whole text; absent when a repeated request met the key that it had made before.
    pub text: Option<ApiKeyText>,
}

impl Steward {
    /// Who calls with this key. One read of the store, so that a revoked key is refused at once.
    ///
    /// # Errors
    /// [`ErrorCode::Unauthenticated`], the same whether the key is malformed, unknown, revoked or has another secret.
    pub async fn authenticate(&self, key: &str) -> Result<Caller, Failure> {
        let refused = || Failure::new(ErrorCode::Unauthenticated, "the API key is not valid");
        let text: ApiKeyText = key.parse().map_err(|_| refused())?;
        let found = read::key(self.store(), text.id()).await?;
        let found = found.filter(|key| key.revoked.is_none() && text.matches(&key.secret_hash)).ok_or_else(refused)?;
        Ok(Caller { key: found.id, project: found.project, role: found.role })
    }

    /// Makes sure that the node has an operator's key and gives its text. With `known`, that key is made good, so that
    /// a caller which keeps the text before it calls loses nothing by a crash; without, a new key is made.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when `known` is no key, or is a project's.
    pub async fn bootstrap_key(&self, known: Option<&str>) -> Result<ApiKeyText, Failure> {
        let text = match known {
            Some(known) => known.parse().map_err(|error| Failure::field("key", format!("{error}")))?,
            None => ApiKeyText::generate(self.entropy()),
        };
        let (now, key) = (self.clock().now(), &text);
        self.store()
            .run(|txn| async move {
                let row = key_row(key.id());
                if let Some(found) = txn.load::<ApiKey>(&row).await? {
                    let same = found.role == Role::Root && found.revoked.is_none() && key.matches(&found.secret_hash);
                    return if same { Ok(()) } else { Err(Failure::field("key", "another key has this id")) };
                }
                let root = ApiKey {
                    id: key.id().to_owned(),
                    project: None,
                    label: "operator".to_owned(),
                    role: Role::Root,
                    secret_hash: key.secret_hash(),
                    created: now,
                    revoked: None,
                };
                Ok(txn.save(&row, &root)?)
            })
            .await?;
        Ok(text)
    }

    /// Makes a key for a project.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`]; [`ErrorCode::InvalidRequest`] for a label or role that no key may have.
    pub async fn create_key(
        &self,
        project: &ProjectId,
        label: &str,
        role: Role,
        idempotency_key: &str,
    ) -> Result<NewKey, Failure> {
        check_key(idempotency_key)?;
        let text = match idempotency_key {
            "" => ApiKeyText::generate(self.entropy()),
            key => ApiKeyText::for_request(&[project.as_str(), key], self.entropy()),
        };
        let create =
            CreateKey { id: text.id().to_owned(), secret_hash: text.secret_hash(), label: label.to_owned(), role };
        match self.ask_project(project, ProjectRequest::CreateKey(create)).await? {
            ProjectResponse::Key { key, created } => Ok(NewKey { key, text: created.then_some(text) }),
            _ => Err(unexpected("the project")),
        }
    }

    /// A project's keys, without secrets.
    ///
    /// # Errors
    /// The store's.
    pub async fn keys(&self, project: &ProjectId) -> Result<Vec<ApiKey>, Failure> {
        Ok(read::keys(self.store(), project).await?)
    }

    /// Revokes a key. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when the project has no such key.
    pub async fn revoke_key(&self, project: &ProjectId, id: &str) -> Result<ApiKey, Failure> {
        match self.ask_project(project, ProjectRequest::RevokeKey { id: id.to_owned() }).await? {
            ProjectResponse::Key { key, .. } => Ok(key),
            _ => Err(unexpected("the project")),
        }
    }

    pub(super) async fn ask_project(
        &self,
        project: &ProjectId,
        request: ProjectRequest,
    ) -> Result<ProjectResponse, Failure> {
        let response = self.host().ask::<Project>(&EntityId::from(project), request, self.deadline()).await?;
        match response {
            ProjectResponse::Refused(refusal) => Err(Failure::from(refusal).with("project", project)),
            response => Ok(response),
        }
    }
}
