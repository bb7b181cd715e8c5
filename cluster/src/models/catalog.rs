//! The catalog: models are added to, listed from and removed from the store, for all nodes at once.

use std::sync::Arc;

use async_trait::async_trait;
use steward_actors::model::{ModelOffer, ModelStatus, Models, NewModel};
use steward_actors::service::{Failure, ModelCatalog, ModelState, ModelView, PlacedReplica};
use steward_inference::{DeviceSnapshot, Model, ModelCard, ModelError};
use steward_storage::StoreExt;
use steward_types::limits::MODEL_ADD_TIME_MAX;
use steward_types::{ErrorCode, ModelId};

use super::board::{ReplicaState, bump_version};
use super::plan::{Missing, Plan, plan};
use super::routed::RoutedModel;
use super::{Board, ClusterModels, Shared};
use crate::placement::Replica;

#[async_trait]
impl Models for ClusterModels {
    async fn get(&self, id: &ModelId) -> Result<Arc<dyn Model>, ModelError> {
        let shared = &self.shared;
        let mut board = shared.board();
        if !board.offers.contains_key(id) {
            // It may have been added on another node a moment ago.
            let failed = |error| ModelError::Failed { what: format!("the store: {error}") };
            board = shared.refresh().await.map_err(failed)?;
        }
        let offer = board.offers.get(id).ok_or_else(|| ModelError::NotFound { id: id.clone() })?;
        let unknown = || ModelError::Failed { what: "an older release added it: add it again".to_owned() };
        let card = offer.card.clone().ok_or_else(unknown)?;
        Ok(Arc::new(RoutedModel { shared: Arc::clone(shared), card }))
    }

    async fn list(&self) -> Vec<ModelId> {
        self.shared.board().offers.keys().cloned().collect()
    }

    fn status(&self, id: &ModelId) -> Option<ModelStatus> {
        self.shared.shelf.status(id)
    }

    fn devices(&self) -> Vec<DeviceSnapshot> {
        self.shared.shelf.devices()
    }
}

#[async_trait]
impl ModelCatalog for ClusterModels {
    async fn add(&self, new: NewModel) -> Result<ModelView, Failure> {
        let id = new.source.id.clone();
        let card = self.shared.shelf.loader.inspect(new.source.clone()).await?;
        let added = self.shared.write_offer(&id, new.into(), card).await?;
        self.shared.refresh().await?;
        self.shared.kick.notify_one();
        let settled = self.settled(&id, added.revision());
        let board = tokio::select! {
            board = settled => board,
            () = self.shared.clock.sleep(MODEL_ADD_TIME_MAX) => self.board(),
        };
        let plan = plan(&board);
        let found = view(&board, &plan, &id).ok_or_else(|| Failure::from(ModelError::NotFound { id: id.clone() }))?;
        match (&found.state, added) {
            // Nobody has it, so nobody shall be offered it. What was there before stays.
            (ModelState::Failed(_), Added::New(_)) => {
                let failure = failure(&id, plan.missing.get(&id));
                self.shared.withdraw(&id).await?;
                Err(failure)
            }
            _ => Ok(found),
        }
    }

    async fn views(&self) -> Vec<ModelView> {
        // What a person is shown is read now; a store that does not answer leaves what was known.
        let board = self.shared.refresh().await.unwrap_or_else(|_| self.board());
        let plan = plan(&board);
        board.offers.keys().filter_map(|id| view(&board, &plan, id)).collect()
    }

    async fn remove(&self, id: &ModelId) -> Result<(), Failure> {
        if !self.shared.withdraw(id).await? {
            return Err(ModelError::NotFound { id: id.clone() }.into());
        }
        self.shared.kick.notify_one();
        Ok(())
    }
}

/// What became of a wish to offer a model; each with the revision that is offered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    New(u64),
    Known(u64),
}

impl Added {
    const fn revision(self) -> u64 {
        match self {
            Self::New(revision) | Self::Known(revision) => revision,
        }
    }
}

impl ClusterModels {
    /// The board once a node has the model, or none can, or it is not offered under this revision any more.
    async fn settled(&self, id: &ModelId, revision: u64) -> Arc<Board> {
        self.until(|board| {
            let is_offered = board.offers.get(id).is_some_and(|offer| offer.revision == revision);
            !is_offered || !matches!(view(board, &plan(board), id).map(|view| view.state), Some(ModelState::Loading))
        })
        .await
    }
}

impl Shared {
    /// Writes a model's row, unless the same model is offered already and is not failing.
    async fn write_offer(&self, id: &ModelId, offer: ModelOffer, card: ModelCard) -> Result<Added, Failure> {
        // The file must be the same on each node and after each restart, because receipts name its hash.
        let offer =
            ModelOffer { hash: Some(card.hash), card: Some(card), revision: self.entropy.next_u64() | 1, ..offer };
        let key = &ModelOffer::key(id);
        self.store
            .run(|txn| {
                let offer = offer.clone();
                async move {
                    let Some(found) = txn.load::<ModelOffer>(key).await? else {
                        txn.save(key, &offer)?;
                        bump_version(&txn)?;
                        return Ok(Added::New(offer.revision));
                    };
                    if found.revision == offer.revision {
                        return Ok(Added::New(offer.revision));
                    }
                    if found.hash != offer.hash {
                        let path = found.path.display();
                        let message = format!("there is a model {id} already, from {path}; remove it first");
                        return Err(Failure::new(ErrorCode::ModelExists, message).with("model", id));
                    }
                    let board = Board::load(&txn).await?;
                    let is_failing = plan(&board).missing.contains_key(id);
                    if found.replicas == offer.replicas && !is_failing {
                        return Ok(Added::Known(found.revision));
                    }
                    // Those that could not have it are asked again, those that have it keep it.
                    let revision = if board.ready(id).is_empty() { offer.revision } else { found.revision };
                    txn.save(key, &ModelOffer { revision, ..offer })?;
                    bump_version(&txn)?;
                    Ok(Added::Known(revision))
                }
            })
            .await
    }

    /// Removes a model's row; says whether there was one.
    async fn withdraw(&self, id: &ModelId) -> Result<bool, Failure> {
        let key = &ModelOffer::key(id);
        let withdraw = |txn: steward_storage::Txn| async move {
            if txn.load::<ModelOffer>(key).await?.is_none() {
                return Ok(false);
            }
            txn.clear(key)?;
            bump_version(&txn)?;
            Ok::<bool, Failure>(true)
        };
        self.store.run(withdraw).await
    }
}

/// How a model is doing, by the board and the plan that follows from it.
fn view(board: &Board, plan: &Plan, id: &ModelId) -> Option<ModelView> {
    let offer = board.offers.get(id)?;
    let missing = plan.missing.get(id);
    let mut placed: Vec<PlacedReplica> = Vec::new();
    for replica in board.placed.get(id).into_iter().flatten() {
        placed.extend(placed_replica(board, id, replica, offer.card.as_ref()));
    }
    let is_on_its_way = !placed.is_empty() || plan.placed.get(id).is_some_and(|replicas| !replicas.is_empty());
    let is_hopeless = missing.is_some_and(Missing::is_certain);
    let state = match &offer.card {
        Some(card) if !board.ready(id).is_empty() => ModelState::Ready(Box::new(card.clone())),
        _ if !is_on_its_way && is_hopeless => ModelState::Failed(missing.map(ToString::to_string).unwrap_or_default()),
        _ => ModelState::Loading,
    };
    Some(ModelView {
        id: id.clone(),
        from: offer.from.clone(),
        path: offer.path.clone(),
        replicas: offer.replicas,
        state,
        placed,
        missing: missing.map(ToString::to_string).unwrap_or_default(),
    })
}

/// A replica on a node that lives.
fn placed_replica(board: &Board, id: &ModelId, at: &Replica, card: Option<&ModelCard>) -> Option<PlacedReplica> {
    board.living(at.node)?;
    let state = match (board.report(at.node, id).map(|report| &report.state), card) {
        (Some(ReplicaState::Ready { load }), Some(card)) => {
            ModelStatus::Ready { card: Box::new(card.clone()), load: *load }
        }
        (Some(ReplicaState::Failed { why }), _) => ModelStatus::Failed { why: why.clone() },
        _ => ModelStatus::Loading,
    };
    Some(PlacedReplica { node: at.node, device: at.device.clone(), state })
}

/// Why a model that was added is nowhere.
fn failure(id: &ModelId, missing: Option<&Missing>) -> Failure {
    let Some(missing) = missing else { return Failure::new(ErrorCode::Internal, format!("{id} is nowhere")) };
    let code = if missing.failed.is_empty() { ErrorCode::DeviceMemory } else { ErrorCode::ModelFileInvalid };
    Failure::new(code, format!("{id}: {missing}")).with("model", id)
}
