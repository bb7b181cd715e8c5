//! `steward modules`: scripts that a project's agents share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use steward_api::proto::v1;

use super::{Session, when};
use crate::args::Modules;
use crate::output::Tone;

/// Reads scripts and the scripts in folders, by the names that they have as modules.
///
/// # Errors
/// Names the path that is no script or cannot be read, or two that would have one name.
pub fn read_modules(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut modules = BTreeMap::new();
    for path in paths {
        for script in scripts(path)? {
            let name = script.file_stem().and_then(|name| name.to_str()).context("a script's name is not UTF-8")?;
            let source = std::fs::read_to_string(&script);
            let source = source.with_context(|| format!("{} cannot be read", script.display()))?;
            if modules.insert(name.to_owned(), source).is_some() {
                bail!("{} would be a second module {name}: give each another name", script.display());
            }
        }
    }
    Ok(modules)
}

fn scripts(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_script = |path: &Path| path.extension().is_some_and(|extension| extension == "rhai");
    if !path.is_dir() {
        anyhow::ensure!(is_script(path), "{} is neither a folder nor a script: its name ends in .rhai", path.display());
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = || format!("{} cannot be read", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?.path();
        if entry.is_file() && is_script(&entry) {
            found.push(entry);
        }
    }
    anyhow::ensure!(!found.is_empty(), "{} holds no .rhai script", path.display());
    found.sort();
    Ok(found)
}

/// Runs one of `modules`.
///
/// # Errors
/// What the node refused, or that a file cannot be read.
pub async fn run(command: Option<Modules>, session: &Session) -> anyhow::Result<()> {
    let (output, mut modules, project) = (session.output, session.client.modules(), session.project.clone());
    match command.unwrap_or(Modules::List) {
        Modules::List => {
            let listed = modules.list(v1::ListModulesRequest { project }).await?.into_inner().modules;
            if output.is_json() {
                return listed.iter().try_for_each(|module| output.message("Module", module));
            }
            let heading = ["module", "bytes", "changed", "agents"];
            output.table(&heading, listed.iter().map(row).collect(), "the project has no module yet");
        }
        Modules::Deploy { paths } => {
            let sources = read_modules(&paths)?;
            let request = v1::DeployModulesRequest { project, sources };
            let deployed = modules.deploy(request).await?.into_inner();
            if output.is_json() {
                return output.message("DeployModulesResponse", &deployed);
            }
            for module in &deployed.modules {
                tell_deployed(session, module);
            }
        }
        Modules::Show { name } => {
            let found = modules.get(v1::GetModuleRequest { project, name }).await?.into_inner();
            if output.is_json() {
                return output.message("GetModuleResponse", &found);
            }
            output.line(found.source.trim_end_matches('\n'));
        }
        Modules::Remove { name, confirm } => {
            session.confirm(&format!("remove the module {name}"), confirm)?;
            let removed = modules.remove(v1::RemoveModuleRequest { project, name: name.clone() }).await?.into_inner();
            if output.is_json() {
                return output.message("RemoveModuleResponse", &removed);
            }
            output.line(format!("{name}: {}", output.paint(Tone::Good, "removed")));
        }
    }
    Ok(())
}

fn row(module: &v1::Module) -> Vec<String> {
    let agent = |has: &v1::ModuleAgent| match has.current {
        true => has.agent.clone(),
        false => format!("{} (older copy)", has.agent),
    };
    let agents: Vec<String> = module.agents.iter().map(agent).collect();
    let agents = if agents.is_empty() { "-".to_owned() } else { agents.join(", ") };
    vec![module.name.clone(), module.bytes.to_string(), when(module.updated_at.as_ref()), agents]
}

/// That a module is there, and which agents do not have it as it is now.
fn tell_deployed(session: &Session, module: &v1::Module) {
    let output = session.output;
    let imported = format!("import \"project/{0}\" as {0};", module.name);
    output.line(format!(
        "{}: {}  {}",
        module.name,
        output.paint(Tone::Good, "deployed"),
        output.paint(Tone::Faint, imported)
    ));
    for has in module.agents.iter().filter(|has| !has.current) {
        let advice = format!("  {} has an older copy until it is deployed again: steward agents deploy", has.agent);
        output.line(output.paint(Tone::Warning, advice));
    }
}
