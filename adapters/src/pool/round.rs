//! One question to several endpoints: asks, waits, asks the next, and tells each endpoint's health how it went.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use steward_types::limits::CHAIN_CALL_TIME_MAX;

use super::Pool;
use crate::chain::{Chain, ChainError, Head};
use crate::endpoint::{Class, Meter};

/// How an endpoint is asked.
pub(super) type Question<'a, T> = dyn Fn(&'a dyn Chain) -> BoxFuture<'a, Result<T, ChainError>> + Send + Sync + 'a;

/// What was answered so far, in the order of coming.
pub(super) type Answers<T> = Vec<(usize, Result<T, ChainError>)>;

/// Why it is decided now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// An answer came.
    Answered,
    /// Those who were asked take longer than usual.
    Slow,
}

/// What to do next. A round ends by itself when nobody is waited for and nobody else is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody else is asked or waited for.
    Stop,
    /// Another one is asked.
    Ask,
    /// Another one is asked instead of those who are waited for, if there is another.
    Switch,
    /// Those who were asked are waited for.
    Wait,
}

/// A call that is under way. Dropped before its end, the endpoint was overtaken.
struct Asked<'a> {
    pool: &'a Pool,
    number: usize,
    class: Class,
    since: Duration,
    meter: Meter,
    is_done: bool,
}

impl Pool {
    /// Asks the first `at_once` endpoints, and then whoever `decide` wants, until it stops.
    pub(super) async fn round<'a, T: Send + 'a>(
        &'a self,
        class: Class,
        at_once: usize,
        question: &Question<'a, T>,
        decide: &mut (dyn FnMut(&Answers<T>, Occasion) -> Next + Send),
    ) -> Result<Answers<T>, ChainError> {
        let order = self.order(class)?;
        let slow_after = self.hedge_time(order[0], class);
        let mut rest = order.into_iter();
        let (mut asked, mut answers) = (FuturesUnordered::new(), Answers::new());
        let mut wanted = at_once;
        loop {
            asked.extend(rest.by_ref().filter_map(|number| self.begin(number, class, question)).take(wanted));
            if asked.is_empty() {
                return Ok(answers);
            }
            let occasion = tokio::select! {
                biased;
                Some(answer) = asked.next() => {
                    answers.push(answer);
                    Occasion::Answered
                }
                () = self.clock.sleep(slow_after) => Occasion::Slow,
            };
            wanted = match decide(&answers, occasion) {
                Next::Stop => return Ok(answers),
                Next::Ask => 1,
                Next::Switch if rest.len() > 0 => {
                    asked.clear();
                    1
                }
                Next::Switch | Next::Wait => 0,
            };
        }
    }

    /// Asks one endpoint, unless it may not be asked any more.
    pub(super) fn begin<'a, T: Send + 'a>(
        &'a self,
        number: usize,
        class: Class,
        question: &Question<'a, T>,
    ) -> Option<BoxFuture<'a, (usize, Result<T, ChainError>)>> {
        self.roster.lock().endpoint(number).admit(class, self.clock.now()).ok()?;
        let call = question(&*self.drivers[number]);
        let (since, meter) = (self.clock.monotonic(), Meter::default());
        let asked = Asked { pool: self, number, class, since, meter: meter.clone(), is_done: false };
        Some(Box::pin(async move {
            let result = meter.count(call).await;
            asked.done(&result);
            (number, result)
        }))
    }

    /// The newest blocks of the endpoints: of a quorum, and of whoever else is no slower than usual.
    pub(super) async fn heads(&self) -> Result<Vec<(usize, Head)>, ChainError> {
        let question: &Question<'_, Head> = &|chain| chain.head();
        let answers = self.round(Class::Read, self.drivers.len(), question, &mut self.most()).await?;
        let (mut heads, mut failure) = (Vec::new(), None);
        for (number, answer) in answers {
            match answer {
                Ok(head) => heads.push((number, head)),
                Err(error) => failure = Some(error),
            }
        }
        self.roster.lock().saw_heads(&heads, self.clock.now());
        match failure {
            _ if heads.len() >= self.quorum => Ok(heads),
            Some(failure) => Err(failure),
            None => Err(self.too_few(heads.len())),
        }
    }

    /// Whatever is asked ends in time.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ChainError>> + Send,
    ) -> Result<T, ChainError> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.clock.sleep(CHAIN_CALL_TIME_MAX) => {
                Err(self.unavailable(format!("no endpoint answered within {CHAIN_CALL_TIME_MAX:?}")))
            }
        }
    }
}

impl Asked<'_> {
    fn done<T>(mut self, result: &Result<T, ChainError>) {
        self.is_done = true;
        let (now, took) = (self.pool.clock.now(), self.pool.clock.monotonic().saturating_sub(self.since));
        let mut roster = self.pool.roster.lock();
        let endpoint = roster.endpoint(self.number);
        endpoint.requested(self.class, self.meter.requests(), now);
        match result {
            Err(ChainError::Throttled { retry_after, reason, .. }) => {
                endpoint.throttled(self.class, *retry_after, reason, now);
            }
            // To be behind is no failure: the lag says it.
            Ok(_) | Err(ChainError::Behind { .. }) => endpoint.served(self.class, took, now),
            Err(error) if error.is_endpoint_failure() => endpoint.failed(self.class, took, &error.in_full(), now),
            Err(_) => endpoint.served(self.class, took, now),
        }
        drop(roster);
        if result.as_ref().is_err_and(ChainError::is_endpoint_failure) {
            self.pool.troubled.notify_one();
        }
        self.pool.measure(self.number, result);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let (now, waited) = (self.pool.clock.now(), self.pool.clock.monotonic().saturating_sub(self.since));
            let mut roster = self.pool.roster.lock();
            let endpoint = roster.endpoint(self.number);
            endpoint.requested(self.class, self.meter.requests(), now);
            endpoint.overtaken(self.class, waited, now);
            drop(roster);
            self.pool.troubled.notify_one();
        }
    }
}
