//! `wait`: until an order's transaction is final. Finality takes longer than a thread should be kept, so that the step
//! is a row from the first, unless the order has ended already.

use std::time::Duration;

use steward_scripting::StepCall;
use steward_scripting::call::WaitOptions;
use steward_types::ErrorCode;
use steward_types::limits::{CHAIN_WAIT_LOOKED_TIME, SESSION_WAIT_TIME_MAX};

use crate::chain::OrderId;
use crate::chain::orders::{self, OrderError, OrderRecord};
use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::journal::{StepState, Wait};
use crate::session::record::StepOutcome;
use crate::session::steps::Answer;
use crate::session::turn::{Durability, Turn};

/// `wait`.
pub(in crate::session::steps) async fn wait(
    turn: &Turn,
    call: &StepCall,
    chain: &str,
    id: &str,
    options: WaitOptions,
) -> Result<Answer, SessionError> {
    let order: OrderId = match id.parse() {
        Ok(order) => order,
        Err(error) => return done(turn, call, StepOutcome::error(ErrorCode::StepInvalid, format!("{error}"))).await,
    };
    let timeout = options.timeout_ms.map_or(SESSION_WAIT_TIME_MAX, Duration::from_millis).min(SESSION_WAIT_TIME_MAX);
    let expires = turn.now().saturating_add(timeout);
    // Twice at most: what ends between the question and the commit has ended the second time.
    loop {
        let found = orders::order_of(&turn.environment.store.begin(), &order).await?;
        let Some(record) = found.filter(|record| record.project == turn.record.project && record.chain == chain) else {
            let message = format!("there is no order {order} on {chain}");
            return done(turn, call, StepOutcome::error(ErrorCode::OrderNotFound, message)).await;
        };
        if let OrderRecord { outcome: Some(ended), .. } = record {
            return done(turn, call, StepOutcome::Value(ended.to_script())).await;
        }
        let look = turn.now().saturating_add(CHAIN_WAIT_LOOKED_TIME).min(expires);
        let step = turn.row(call, StepState::Waiting(Wait::Transaction { order: order.clone(), expires, look }));
        let changes = vec![
            Change::Step(call.path.clone(), Box::new(step)),
            Change::Timer(call.path.clone(), look),
            Change::Await(order.clone(), call.path.clone()),
        ];
        match turn.commit(changes).await {
            Ok(_) => return Ok(Answer::Waits),
            Err(SessionError::Order(OrderError::Ended)) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn done(turn: &Turn, call: &StepCall, outcome: StepOutcome) -> Result<Answer, SessionError> {
    Ok(Answer::Done(turn.finish(call, outcome, None, Durability::Next, Vec::new()).await?))
}
