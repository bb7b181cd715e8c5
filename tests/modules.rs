//! Modules that a project's agents share, from the command line to the script that imports them.

use std::path::Path;

use steward::client;
use steward_api::proto::v1;
use steward_types::Micros;

use crate::home::Home;
use crate::tenant::Tenant;

const RATES: &str = "fn percent() { 20 }";
const TAX: &str = "import \"project/rates\" as rates;\nfn of(amount) { amount * rates::percent() / 100 }";
const CLERK: &str = "import \"project/tax\" as tax;\nfn on_message(msg) { reply(`${tax::of(100)}`) }";

struct Office {
    tenant: Tenant,
    home: Home,
}

impl Office {
    async fn open() -> Self {
        let tenant = Tenant::start().await;
        let home = Home::new(tenant.folder.path());
        home.told(&["login", "--server", tenant.node.server(), "--key", &tenant.key]);
        home.agent("clerk", CLERK);
        let office = Self { tenant, home };
        office.write("rates", RATES);
        office.write("tax", TAX);
        office
    }

    fn write(&self, module: &str, source: &str) {
        let shared = self.home.0.join("shared");
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::write(shared.join(format!("{module}.rhai")), source).unwrap();
    }

    /// What the clerk answers to somebody new.
    async fn answer(&self) -> String {
        self.tenant.run(&self.tenant.open("clerk").await, "how much?").await.reply
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_takes_along_the_modules_that_it_imports_and_keeps_them_until_it_is_deployed_again() {
    let office = Office::open().await;
    let home = &office.home;
    assert!(home.told(&["modules"]).contains("no module yet"));
    let refused = home.refused(&["agents", "deploy", "clerk"]);
    assert!(refused.contains("steward modules deploy tax.rhai"), "{refused}");
    // Without a node the check finds them in a folder, and only those that are imported.
    office.write("unused", "fn broken( {");
    assert!(home.refused(&["agents", "check", "clerk"]).contains("there is no module \"project/tax\""));
    assert!(home.told(&["agents", "check", "clerk", "--modules", "shared"]).contains("good"));
    std::fs::remove_file(home.0.join("shared/unused.rhai")).unwrap();

    let deployed = home.told(&["modules", "deploy", "shared"]);
    assert!(
        deployed.contains("tax: deployed") && deployed.contains("import \"project/rates\" as rates;"),
        "{deployed}"
    );
    assert!(home.told(&["agents", "deploy", "clerk"]).contains("clerk version 1: deployed"));
    assert_eq!(office.answer().await, "20");
    let folder = home.0.join("first");
    download(&office.tenant, 1, &folder).await;

    office.write("rates", "fn percent() { 25 }");
    let deployed = home.told(&["modules", "deploy", "shared/rates.rhai"]);
    assert!(deployed.contains("clerk has an older copy"), "{deployed}");
    assert_eq!(office.answer().await, "20", "a version keeps its copy");
    let listed = home.json(&["modules", "list"]);
    assert_eq!((listed[0]["name"].as_str(), listed[0]["agents"][0]["current"].as_bool()), (Some("rates"), Some(false)));
    assert!(home.told(&["agents", "deploy", "clerk"]).contains("clerk version 2: deployed"));
    assert_eq!(office.answer().await, "25");
    assert!(home.told(&["modules", "list"]).contains("clerk"));
    assert!(home.told(&["modules", "show", "rates"]).contains("25"));

    for module in ["tax", "rates"] {
        home.told(&["modules", "remove", module, "--yes"]);
    }
    assert!(home.refused(&["modules", "show", "tax"]).contains("MODULE_NOT_FOUND"));
    assert_eq!(office.answer().await, "25", "what a version took along is not taken away");
    // A version that was downloaded has its copies with it.
    assert!(home.told(&["agents", "deploy", folder.to_str().unwrap()]).contains("clerk version 1: unchanged"));
    assert_eq!(office.answer().await, "20");
}

/// Writes the files of one version of the clerk as a folder.
async fn download(tenant: &Tenant, version: u64, folder: &Path) {
    let request = v1::GetAgentRequest { name: "clerk".to_owned(), version, ..Default::default() };
    let bundle = tenant.client.agents().get(request).await.unwrap().into_inner().bundle.unwrap();
    std::fs::create_dir_all(folder.join("project")).unwrap();
    std::fs::write(folder.join("manifest.toml"), bundle.manifest_toml).unwrap();
    for (name, source) in bundle.files {
        std::fs::write(folder.join(name), source).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_that_are_wrong_change_nothing_and_belong_to_one_project() {
    let office = Office::open().await;
    let home = &office.home;
    let refused = |name: &str, source: &str, expected: &str| {
        office.write(name, source);
        let said = home.refused(&["modules", "deploy", "shared"]);
        assert!(said.contains("SCRIPT_INVALID") && said.contains(expected), "{said}");
        std::fs::remove_file(home.0.join(format!("shared/{name}.rhai"))).unwrap();
    };
    refused("late", "fn now_then() { caht(1) }", "late.rhai");
    refused("local", "import \"pricing\" as pricing;", "a module of the project cannot import");
    refused("absent", "import \"project/nothing\" as nothing;", "there is no module \"project/nothing\"");
    assert!(home.told(&["modules"]).contains("no module yet"), "all of them or none");
    home.told(&["modules", "deploy", "shared"]);
    refused("rates", "import \"project/tax\" as tax;\nfn percent() { tax::of(1) }", "in a circle");
    assert!(home.refused(&["modules", "deploy", "clerk/manifest.toml"]).contains("its name ends in .rhai"));
    let named =
        v1::DeployModulesRequest { sources: [("No Name".to_owned(), RATES.to_owned())].into(), ..Default::default() };
    let error = office.tenant.client.modules().deploy(named).await.unwrap_err();
    assert!(error.message().contains("module name"), "{error}");

    let (other, _) = office.tenant.second_project("other", Micros::new(1)).await;
    let request = v1::ListModulesRequest { project: "other".to_owned() };
    assert!(other.modules().list(request).await.unwrap().into_inner().modules.is_empty());
    let request = v1::GetModuleRequest { project: "acme".to_owned(), name: "tax".to_owned() };
    let stranger = other.modules().get(request).await.unwrap_err();
    assert_eq!(client::reason(&stranger).as_deref(), Some("PERMISSION_DENIED"));
}
