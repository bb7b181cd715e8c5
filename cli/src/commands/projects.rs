//! `steward projects`: create, list, show, prices, anchoring, keys.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use steward_api::proto::v1;
use steward_types::Micros;

use super::Session;
use crate::args::{Period, Projects};
use crate::output::Tone;

/// A price list as people write it. Amounts are texts such as `"0.5"` (units) or `"20u"` (micro-units).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PriceListFile {
    models: BTreeMap<String, PriceFile>,
    model_default: Option<PriceFile>,
    functions: BTreeMap<String, PriceFile>,
    function_default: Option<PriceFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PriceFile {
    per_million_input_tokens: Amount,
    per_million_output_tokens: Amount,
    per_second: Amount,
    per_call: Amount,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Amount(Micros);

impl TryFrom<String> for Amount {
    type Error = steward_types::MoneyError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<PriceFile> for v1::Price {
    fn from(price: PriceFile) -> Self {
        Self {
            per_million_input_tokens_micros: price.per_million_input_tokens.0.get(),
            per_million_output_tokens_micros: price.per_million_output_tokens.0.get(),
            per_second_micros: price.per_second.0.get(),
            per_call_micros: price.per_call.0.get(),
        }
    }
}

/// Reads a price list from TOML.
///
/// # Errors
/// Names the file, and line and field of what is wrong.
pub fn read_prices(file: &Path) -> anyhow::Result<v1::PriceList> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    parse_prices(&text).with_context(|| format!("{} is no price list", file.display()))
}

/// Reads a price list from the text of a TOML file.
///
/// # Errors
/// Names line and field of what is wrong.
pub fn parse_prices(text: &str) -> anyhow::Result<v1::PriceList> {
    let read: PriceListFile = toml::from_str(text)?;
    let each =
        |prices: BTreeMap<String, PriceFile>| prices.into_iter().map(|(name, price)| (name, price.into())).collect();
    Ok(v1::PriceList {
        models: each(read.models),
        model_default: read.model_default.map(Into::into),
        functions: each(read.functions),
        function_default: read.function_default.map(Into::into),
    })
}

/// A period as the API has it.
pub fn period(period: Period) -> v1::Period {
    match period {
        Period::None => v1::Period::Unspecified,
        Period::Daily => v1::Period::Daily,
        Period::Monthly => v1::Period::Monthly,
    }
}

/// Runs one of `projects`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Projects, session: &Session) -> anyhow::Result<()> {
    let (output, mut projects) = (session.output, session.client.projects());
    match command {
        Projects::Create { name, limit, period: every, prices, chain } => {
            let prices = prices.as_deref().map(read_prices).transpose()?;
            let request = v1::CreateProjectRequest {
                name,
                limit_micros: limit.map(Micros::get),
                period: period(every).into(),
                prices,
                chains: chain,
                idempotency_key: String::new(),
            };
            show(session, &projects.create(request).await?.into_inner())
        }
        Projects::List => {
            let listed = projects.list(v1::ListProjectsRequest::default()).await?.into_inner();
            if output.is_json() {
                return listed.projects.iter().try_for_each(|project| output.message("Project", project));
            }
            let rows = listed.projects.iter().map(|project| {
                let models = project.prices.as_ref().map_or(0, |prices| prices.models.len());
                vec![project.name.clone(), models.to_string(), project.chains.join(", ")]
            });
            output.table(&["project", "priced models", "chains"], rows.collect(), "no project yet");
            Ok(())
        }
        Projects::Show { name } => {
            show(session, &projects.get(v1::GetProjectRequest { project: name }).await?.into_inner())
        }
        Projects::Prices { name, file } => {
            let request = v1::SetPricesRequest { project: name, prices: Some(read_prices(&file)?) };
            show(session, &projects.set_prices(request).await?.into_inner())
        }
        Projects::Anchoring { name, chain, none, within, receipts } => {
            let found = projects.get(v1::GetProjectRequest { project: name.clone() }).await?.into_inner();
            let request = v1::SetAnchoringRequest {
                project: name,
                chains: if none || !chain.is_empty() { chain } else { found.chains },
                anchor_interval: match within {
                    Some(seconds) => Some(prost_types::Duration { seconds: seconds.into(), nanos: 0 }),
                    None => found.anchor_interval,
                },
                anchor_receipts: receipts.or(found.anchor_receipts).filter(|receipts| *receipts > 0),
            };
            show(session, &projects.set_anchoring(request).await?.into_inner())
        }
        Projects::Key { name, label, admin } => {
            let role = if admin { v1::KeyRole::Admin } else { v1::KeyRole::Member };
            let request =
                v1::CreateKeyRequest { project: name, label, role: role.into(), idempotency_key: String::new() };
            let made = projects.create_key(request).await?.into_inner();
            if output.is_json() {
                return output.message("CreateKeyResponse", &made);
            }
            output.line(&made.secret);
            output.line(output.paint(Tone::Faint, "shown this once; steward login --key … remembers it"));
            Ok(())
        }
        Projects::Keys { name } => {
            let listed = projects.list_keys(v1::ListKeysRequest { project: name }).await?.into_inner();
            if output.is_json() {
                return listed.keys.iter().try_for_each(|key| output.message("ApiKey", key));
            }
            let rows = listed.keys.iter().map(|key| {
                let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
                let role = key.role().as_str_name().trim_start_matches("KEY_ROLE_").to_ascii_lowercase();
                vec![key.key_id.clone(), key.label.clone(), role, state.to_owned()]
            });
            output.table(&["key", "label", "role", "state"], rows.collect(), "no key yet");
            Ok(())
        }
        Projects::Revoke { name, key_id, confirm } => {
            session.confirm(&format!("revoke the key {key_id}"), confirm)?;
            let revoked = projects.revoke_key(v1::RevokeKeyRequest { project: name, key_id }).await?.into_inner();
            if output.is_json() {
                return output.message("ApiKey", &revoked);
            }
            output.line(format!("{} is revoked", revoked.key_id));
            Ok(())
        }
    }
}

fn show(session: &Session, project: &v1::Project) -> anyhow::Result<()> {
    let output = session.output;
    if output.is_json() {
        return output.message("Project", project);
    }
    output.facts(&[
        ("project", project.name.clone()),
        ("anchored on", project.chains.join(", ")),
        ("anchored when", anchored_when(project)),
    ]);
    let prices = project.prices.clone().unwrap_or_default();
    let named = prices.models.iter().chain(&prices.functions).map(|(name, price)| (name.as_str(), price));
    let others = [("other models", &prices.model_default), ("other functions", &prices.function_default)];
    let others = others.into_iter().filter_map(|(name, price)| price.as_ref().map(|price| (name, price)));
    let rows = named.chain(others).map(|(name, price)| {
        let amounts = [
            price.per_million_input_tokens_micros,
            price.per_million_output_tokens_micros,
            price.per_second_micros,
            price.per_call_micros,
        ];
        [name.to_owned()].into_iter().chain(amounts.map(|micros| Micros::new(micros).to_string())).collect()
    });
    let heading = ["price of", "a million tokens in", "a million tokens out", "a second", "a call"];
    output.table(&heading, rows.collect(), "nothing has a price yet");
    Ok(())
}

/// When the project's receipts are anchored, in words.
fn anchored_when(project: &v1::Project) -> String {
    let interval = project.anchor_interval.as_ref().map_or(0, |interval| interval.seconds);
    let time = format!("receipts have waited for {interval} s");
    match project.anchor_receipts {
        Some(receipts) => format!("{receipts} receipts wait, or {time}"),
        None => time,
    }
}

#[cfg(test)]
mod tests {
    use steward_actors::budget::{Price, PriceList};

    use super::*;

    #[test]
    fn the_list_of_a_project_that_was_given_none_stands_in_the_operators_manual() {
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        let (_, list) = manual.split_once("without `--prices` has this list:\n\n```toml\n").unwrap();
        let told = parse_prices(list.split_once("```").unwrap().0).unwrap();
        let price = |price: Price| v1::Price {
            per_million_input_tokens_micros: price.per_million_input_tokens.get(),
            per_million_output_tokens_micros: price.per_million_output_tokens.get(),
            per_second_micros: price.per_second.get(),
            per_call_micros: price.per_call.get(),
        };
        let own = PriceList::default();
        let each = |prices: BTreeMap<String, Price>| prices.into_iter().map(|(name, of)| (name, price(of))).collect();
        let (model_default, function_default) = (own.model_default.map(price), own.function_default.map(price));
        let (models, functions) = (each(own.models), each(own.functions));
        assert_eq!(told, v1::PriceList { models, model_default, functions, function_default });
    }

    #[test]
    fn a_price_list_reads_units_and_refuses_floats_and_unknown_fields() {
        let good = "[models.m]\nper_million_input_tokens = \"0.002\"\n[functions.http]\nper_call = \"100u\"";
        let prices = parse_prices(good).unwrap();
        assert_eq!(prices.models["m"].per_million_input_tokens_micros, 2000);
        assert_eq!(prices.functions["http"].per_call_micros, 100);
        for bad in [
            "[functions.http]\nper_call = 0.1",
            "[functions.http]\nper_call = \"-1\"",
            "nonsense = \"1\"",
            "[models.m]\nper_token = \"1\"",
        ] {
            assert!(parse_prices(bad).is_err(), "{bad}");
        }
    }
}
