//! The entity that keeps a project's receipt log: one for each project, always in memory, woken by the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_receipts::proof::Proof;
use steward_receipts::{Hash, NoteSigner};
use steward_storage::{Isolation, Store, StoreExt, Txn};
use steward_types::limits::RECEIPT_LINGER_TIME;
use steward_types::{ErrorCode, HoldId, ProjectId};

use super::identity::LogIdentity;
use super::read::{self, AnchoredRoot, ListRequest, ProveUnder, Receipt, ReceiptError, ReceiptList};
use super::records;
use super::sequencer::{Batch, Edge, Head, sequence};
use crate::host::{Context, Entity, EntityId, Fault, Reply};
use crate::lease::LeaseError;

/// What the node gives its receipt logs.
#[derive(Debug, Clone)]
pub struct ReceiptLogEnvironment {
    /// Where the logs lie.
    pub store: Arc<dyn Store>,
    /// Who signs them.
    pub identity: Arc<LogIdentity>,
}

/// What can be asked of a receipt log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ReceiptLogRequest {
    /// Be there: the log then follows the store by itself. Answered with the head.
    Wake,
    /// Answer with the head once everything that is pending now is in the log.
    Flush,
    /// One receipt.
    Get(HoldId),
    /// A page of receipts.
    List(ListRequest),
    /// The proof of a receipt.
    Prove(HoldId, ProveUnder),
    /// The proof that the log of the second size begins with the log of the first.
    Consistency(u64, u64),
    /// A chain has this root.
    Anchored(Box<AnchoredRoot>),
}

/// What a receipt log answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ReceiptLogResponse {
    /// The log, if it has any leaf.
    Head(Option<LogHead>),
    /// One receipt.
    Receipt(Box<Receipt>),
    /// A page of receipts.
    List(ReceiptList),
    /// A proof file.
    Proof(Box<Proof>),
    /// A consistency proof.
    Consistency(Vec<Hash>),
    /// It is recorded.
    Done,
    /// It cannot be given.
    Refused(ErrorCode, String),
}

/// What others see of a log's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The log's name.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Both in a signed note.
    pub checkpoint: String,
}

/// What the sequencing worker says.
#[derive(Debug)]
pub enum ReceiptLogEvent {
    /// It appended.
    Appended(usize, Head),
    /// It cannot go on.
    Failed(Fault),
}

/// The entity of a project's receipt log.
#[derive(Debug)]
pub struct ReceiptLog {
    project: ProjectId,
    origin: String,
    head: Option<Head>,
    batches: u64,
    appended: u64,
}

impl Entity for ReceiptLog {
    const KIND: &'static str = "receipt-log";
    const RESIDENT: bool = true;
    const IDEMPOTENT: bool = true;
    type Environment = ReceiptLogEnvironment;
    type Request = ReceiptLogRequest;
    type Response = ReceiptLogResponse;
    type Event = ReceiptLogEvent;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let project: ProjectId = id.as_str().parse().map_err(Fault::corrupt)?;
        let environment = context.environment();
        let origin = environment.identity.log_origin(&project);
        let head = read::head(&*environment.store, &project).await?;
        let signer = environment.identity.signer(&project);
        let worker = Sequencer { project: project.clone(), signer: Arc::new(signer), context: context.clone() };
        context.work(worker.run());
        Ok(Self { project, origin, head, batches: 0, appended: 0 })
    }

    async fn handle(
        &mut self,
        request: ReceiptLogRequest,
        reply: Reply<ReceiptLogResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let store = Arc::clone(&context.environment().store);
        let (project, origin) = (self.project.clone(), self.origin.clone());
        context.run(async move {
            let answer = answer(&*store, &project, &origin, request).await;
            reply.send(answer.unwrap_or_else(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                ReceiptLogResponse::Refused(error.code(), format!("{error}{cause}"))
            }));
        });
        Ok(())
    }

    async fn on_event(&mut self, event: ReceiptLogEvent, _context: &Context<Self>) -> Result<(), Fault> {
        match event {
            ReceiptLogEvent::Appended(count, head) => {
                self.batches += 1;
                self.appended += count as u64;
                self.head = Some(head);
                Ok(())
            }
            ReceiptLogEvent::Failed(fault) => Err(fault),
        }
    }

    fn observe(&self) -> serde_json::Value {
        json!({
            "origin": self.origin,
            "size": self.head.as_ref().map_or(0, Head::size),
            "root": self.head.as_ref().map(|head| head.root().to_string()),
            "appended_at": self.head.as_ref().map(|head| head.appended_at.to_string()),
            "batches_since_activation": self.batches,
            "leaves_since_activation": self.appended,
        })
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on: what it does is done in transactions of its own.
        true
    }
}

async fn answer(
    store: &dyn Store,
    project: &ProjectId,
    origin: &str,
    request: ReceiptLogRequest,
) -> Result<ReceiptLogResponse, ReceiptError> {
    Ok(match request {
        ReceiptLogRequest::Wake => ReceiptLogResponse::Head(log_head(store, project, origin).await?),
        ReceiptLogRequest::Flush => {
            read::settled(store, project).await?;
            ReceiptLogResponse::Head(log_head(store, project, origin).await?)
        }
        ReceiptLogRequest::Get(hold) => ReceiptLogResponse::Receipt(Box::new(read::get(store, project, hold).await?)),
        ReceiptLogRequest::List(request) => ReceiptLogResponse::List(read::list(store, project, &request).await?),
        ReceiptLogRequest::Prove(hold, under) => {
            ReceiptLogResponse::Proof(Box::new(read::prove(store, project, hold, under).await?.proof))
        }
        ReceiptLogRequest::Consistency(old, new) => {
            ReceiptLogResponse::Consistency(read::consistency(store, project, old, new).await?)
        }
        ReceiptLogRequest::Anchored(anchored) => {
            let record = async |txn: Txn| read::record_anchor(&txn, project, &anchored);
            store.run(record).await?;
            ReceiptLogResponse::Done
        }
    })
}

async fn log_head(store: &dyn Store, project: &ProjectId, origin: &str) -> Result<Option<LogHead>, ReceiptError> {
    let head = read::head(store, project).await?;
    Ok(head.map(|head| LogHead {
        origin: origin.to_owned(),
        size: head.size(),
        root: head.root(),
        checkpoint: head.checkpoint,
    }))
}

/// The worker that appends, for as long as the entity is in memory.
struct Sequencer {
    project: ProjectId,
    signer: Arc<NoteSigner>,
    context: Context<ReceiptLog>,
}

impl Sequencer {
    async fn run(self) -> ReceiptLogEvent {
        match self.follow().await {
            Ok(never) => match never {},
            Err(LeaseError::Lost { .. }) => ReceiptLogEvent::Failed(Fault::Fenced),
            Err(LeaseError::Store(error)) => ReceiptLogEvent::Failed(error.into()),
        }
    }

    /// Appends whatever is pending, then waits for the next signal. The watch is set before the rows are read, so that
    /// no leaf waits for another one's signal.
    async fn follow(&self) -> Result<std::convert::Infallible, LeaseError> {
        let store = &self.context.environment().store;
        let mut edge = Edge::default();
        loop {
            let txn = store.begin();
            txn.get(&records::signal(&self.project), Isolation::Snapshot).await?;
            let signal = txn.watch(&records::signal(&self.project))?;
            txn.commit().await?;
            loop {
                let batch = self.append(&edge).await?;
                edge = batch.edge;
                if let (1.., Some(head)) = (batch.appended, batch.head) {
                    metrics::counter!("steward_receipts_appended_total").increment(batch.appended as u64);
                    self.context.events().send(ReceiptLogEvent::Appended(batch.appended, head));
                }
                if !batch.more {
                    break;
                }
            }
            signal.await?;
            // Leaves that come close together share a batch.
            self.context.clock().sleep(RECEIPT_LINGER_TIME).await;
        }
    }

    async fn append(&self, edge: &Edge) -> Result<Batch, LeaseError> {
        let store = &self.context.environment().store;
        let fence = self.context.fence();
        fence
            .run(&**store, |txn| {
                let (project, signer, edge) = (self.project.clone(), Arc::clone(&self.signer), edge.clone());
                let context = self.context.clone();
                async move { Ok(sequence(&txn, &project, &signer, &edge, context.clock().now()).await?) }
            })
            .await
    }
}
