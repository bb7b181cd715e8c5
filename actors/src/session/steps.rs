//! The host functions, as steps: what each does, what it costs, and what becomes of it after a crash.

mod call_agent;
mod chain;
mod embed;
mod generate;
mod http;
mod local;
mod wait;

use steward_scripting::{HostCall, StepCall};

pub(super) use local::local;

use super::error::SessionError;
use super::record::StepOutcome;
use super::turn::Turn;

/// Whether a step has been reached before, in a run that a crash or a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has not.
    New,
    /// Its effect may have begun.
    Before {
        /// Bytes of a model's answer that are in the log already.
        emitted_bytes: u64,
    },
    /// It waits for another session, which is to be told again in case it never heard.
    Waiting,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// The script goes on.
    Done(StepOutcome),
    /// The script is unwound until somebody answers.
    Waits,
}

/// Does a step that is not in the journal, or not finished there.
pub(super) async fn execute(
    turn: &Turn,
    call: &StepCall,
    host_call: HostCall,
    begun: Begun,
) -> Result<Answer, SessionError> {
    let outcome = match host_call {
        HostCall::Chat { messages, options } => generate::chat(turn, call, messages, options, begun).await?,
        HostCall::Generate { prompt, options } => generate::generate(turn, call, prompt, options, begun).await?,
        HostCall::Embed { text } => embed::embed(turn, call, text, begun).await?,
        HostCall::Remember { text, metadata } => embed::remember(turn, call, text, metadata, begun).await?,
        HostCall::Recall { query, count } => embed::recall(turn, call, query, count, begun).await?,
        HostCall::Http { method, url, options } => http::http(turn, call, method, url, options, begun).await?,
        HostCall::Sleep { millis } => return wait::sleep(turn, call, millis).await,
        HostCall::AskHuman { question, options } => return wait::ask_human(turn, call, question, options).await,
        HostCall::CallAgent { agent, input, options } => {
            return call_agent::call_agent(turn, call, &agent, input, options, begun).await;
        }
        HostCall::ChainBalance { chain, account, options } => {
            chain::balance(turn, call, &chain, &account, options, begun).await?
        }
        HostCall::ChainRead { chain, contract, signature, arguments, options } => {
            let question = chain::Question { contract, signature, arguments, at: options.at };
            chain::read(turn, call, &chain, question, begun).await?
        }
        HostCall::ChainSend { chain, to, amount, options } => {
            return chain::send(turn, call, chain, to, amount, options).await;
        }
        HostCall::ChainCall { chain, contract, signature, arguments, options } => {
            let told = chain::Told { contract, signature, arguments, value: options.value };
            return chain::call_contract(turn, call, chain, told).await;
        }
        HostCall::ChainWait { chain, id, options } => return chain::wait(turn, call, &chain, &id, options).await,
        HostCall::State { key } => local::load_state(turn, call, &key).await?,
        other => return Err(SessionError::Internal(format!("no step is made of {other:?}"))),
    };
    Ok(Answer::Done(outcome))
}
