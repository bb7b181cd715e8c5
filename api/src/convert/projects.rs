//! Projects, keys and prices.

use std::collections::BTreeMap;

use steward_actors::budget::{Period, Price, PriceList};
use steward_actors::project::{ApiKey, ProjectView, Role};
use steward_actors::service::Failure;
use steward_types::Micros;

use super::{span, time};
use crate::proto::v1;

pub(crate) fn project(view: ProjectView) -> v1::Project {
    v1::Project {
        name: view.id.to_string(),
        created_at: time(view.created),
        prices: Some(price_list(view.prices)),
        chains: view.chains,
        anchor_interval: span(view.anchor_interval_ms),
        anchor_receipts: view.anchor_receipts,
    }
}

fn price_list(list: PriceList) -> v1::PriceList {
    let all = |prices: BTreeMap<String, Price>| prices.into_iter().map(|(name, one)| (name, price(one))).collect();
    v1::PriceList {
        models: all(list.models),
        model_default: list.model_default.map(price),
        functions: all(list.functions),
        function_default: list.function_default.map(price),
    }
}

fn price(price: Price) -> v1::Price {
    v1::Price {
        per_million_input_tokens_micros: price.per_million_input_tokens.get(),
        per_million_output_tokens_micros: price.per_million_output_tokens.get(),
        per_second_micros: price.per_second.get(),
        per_call_micros: price.per_call.get(),
    }
}

pub(crate) fn price_list_from(list: v1::PriceList) -> PriceList {
    let all =
        |prices: BTreeMap<String, v1::Price>| prices.into_iter().map(|(name, one)| (name, price_from(one))).collect();
    PriceList {
        models: all(list.models),
        model_default: list.model_default.map(price_from),
        functions: all(list.functions),
        function_default: list.function_default.map(price_from),
    }
}

fn price_from(price: v1::Price) -> Price {
    Price {
        per_million_input_tokens: Micros::new(price.per_million_input_tokens_micros),
        per_million_output_tokens: Micros::new(price.per_million_output_tokens_micros),
        per_second: Micros::new(price.per_second_micros),
        per_call: Micros::new(price.per_call_micros),
    }
}

pub(crate) fn period(period: Period) -> v1::Period {
    match period {
        Period::None => v1::Period::Unspecified,
        Period::Daily => v1::Period::Daily,
        Period::Monthly => v1::Period::Monthly,
    }
}

pub(crate) fn period_from(number: i32) -> Result<Period, Failure> {
    match v1::Period::try_from(number) {
        Ok(v1::Period::Unspecified) => Ok(Period::None),
        Ok(v1::Period::Daily) => Ok(Period::Daily),
        Ok(v1::Period::Monthly) => Ok(Period::Monthly),
        Err(_) => Err(Failure::field("period", format!("there is no period {number}"))),
    }
}

pub(crate) fn role_from(number: i32) -> Result<Role, Failure> {
    match v1::KeyRole::try_from(number) {
        Ok(v1::KeyRole::Admin) => Ok(Role::Admin),
        Ok(v1::KeyRole::Member) => Ok(Role::Member),
        Ok(v1::KeyRole::Unspecified) | Err(_) => {
            Err(Failure::field("role", "say whether it is an admin's or a member's"))
        }
    }
}

pub(crate) fn key(key: ApiKey) -> v1::ApiKey {
    let role = match key.role {
        Role::Root | Role::Admin => v1::KeyRole::Admin,
        Role::Member => v1::KeyRole::Member,
    };
    v1::ApiKey {
        key_id: key.id,
        project: key.project.map(|project| project.to_string()).unwrap_or_default(),
        label: key.label,
        role: role.into(),
        created_at: time(key.created),
        revoked_at: key.revoked.and_then(time),
    }
}
