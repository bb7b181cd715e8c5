//! What the upload check finds, and where.

use proptest::prelude::*;
use steward_scripting::{Bundle, Manifest, Program};

fn found(bundle: &Bundle) -> Vec<String> {
    let found = Program::check(bundle).expect_err(&bundle.script);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn many_things_are_found_at_once_each_with_line_column_and_advice() {
    let script = r#"fn on_message(msg) {
    let facts = recal(msg.text, 3);
    chat();
    helper(1, 2);
    facts.psh(1);
    facts.truncate();
    let t = timestamp();
    println("x");
    reply(t);
}
fn helper(x) { x }
fn reply(x) { x }
"#;
    assert_eq!(
        found(&Bundle::new(script)),
        [
            r#"agent.rhai: the function reply hides Steward's own reply (give it another name)"#,
            r#"agent.rhai:2:17: there is no function "recal" (did you mean "recall"?)"#,
            r#"agent.rhai:3:5: chat takes 1 or 2 arguments, but 0 are given"#,
            r#"agent.rhai:4:5: helper takes 1 arguments, but 2 are given"#,
            r#"agent.rhai:5:11: there is no function "psh" (did you mean "push"?)"#,
            r#"agent.rhai:6:11: truncate takes 1 arguments, but 0 are given"#,
            r#"agent.rhai:7:13: `timestamp` is not available in scripts (the time is a step: use now())"#,
            r#"agent.rhai:8:5: `println` is not available in scripts (use log(text))"#,
        ]
    );
}

#[test]
fn one_thing_is_found_in_each_of_these() {
    let check = |script: &str, expected: &str| {
        let lines = found(&Bundle::new(script));
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{script}\n{lines:#?}");
    };
    let handler = |body: &str| format!("fn on_message(msg) {{ {body} }}");
    check("fn other() { }", "agent.rhai: there is no handler on_message (every agent");
    check("fn on_message() { }", "agent.rhai: the handler on_message must have one parameter");
    check("fn on_message(msg) {\n let x = ;\n}", "agent.rhai:2:10: ");
    check(&handler("x + 1"), "agent.rhai:1:22: there is no variable \"x\" here");
    check(&handler("eval(\"1\")"), "agent.rhai:1:22: `eval` is not available in scripts (the code");
    check(&handler("Fn(\"f\")"), "agent.rhai:1:22: `Fn` is not available");
    check(&handler("print(1)"), "agent.rhai:1:22: `print` is not available in scripts (use log(text))");
    check(&handler("import \"/etc/passwd\" as p;"), "agent.rhai:1:22: there is no module \"/etc/passwd\"");
    check(
        &handler("import \"project/tax\" as tax;"),
        "agent.rhai:1:22: there is no module \"project/tax\" (give it to the project first: `steward modules deploy tax.rhai`)",
    );
    check(&handler("let n = \"a\"; import n as p;"), "agent.rhai:1:35: an import must name its module");
    check(
        &handler("let a = 1; let f = || a; f.call()"),
        "agent.rhai:1:44: a closure that uses variables from outside (a) cannot be kept",
    );
    check(&handler("let a = []; a.push(|| a);"), "agent.rhai:1:44: a closure");
    check(&handler("[1].map(|x| || x)"), "agent.rhai:1:37: a closure");
    check("let x = 1; fn on_message(msg) { }", "agent.rhai:1:1: outside functions only imports");
    check("const X = now(); fn on_message(msg) { }", "agent.rhai:1:1: outside functions");
    check("loop { } fn on_message(msg) { }", "agent.rhai:1:1: outside functions");
    check(&"x".repeat(300 << 10), "agent.rhai: the file has 307200 bytes; 262144 are allowed");
    check(&handler(&format!("{}1{}", "(".repeat(500), ")".repeat(500))), "agent.rhai:1:");
}

#[test]
fn modules_are_checked_in_their_own_files() {
    let main = "import \"pricing\" as pricing;\nfn on_message(msg) { pricing::qoute(1); pricing::quote(1, 2); pricing::secret(); }";
    let bundle = Bundle::new(main)
        .with_module("pricing", "fn quote(x) {\n  nonsense(x)\n}\nprivate fn secret() { }")
        .with_module("broken", "fn f( {");
    let lines = found(&bundle);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(
        lines[0].starts_with(
            "agent.rhai:2:31: module \"pricing\" has no function \"qoute\" (did you mean \"pricing::quote\"?)"
        ),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("agent.rhai:2:50: pricing::quote takes 1 arguments, but 2"), "{lines:#?}");
    assert!(lines[2].starts_with("agent.rhai:2:72: module \"pricing\" has no function \"secret\""), "{lines:#?}");
    assert!(lines[3].starts_with("broken.rhai:1:"), "{lines:#?}");
    assert!(lines[4].starts_with("pricing.rhai:2:3: there is no function \"nonsense\""), "{lines:#?}");
}

#[test]
fn modules_that_import_each_other_are_refused_and_so_are_odd_names() {
    let main = "import \"a\" as a;\nfn on_message(msg) { a::f() }";
    let circle = Bundle::new(main)
        .with_module("a", "import \"b\" as b;\nfn f() { b::g() }")
        .with_module("b", "import \"a\" as a;\nfn g() { a::f() }");
    assert_eq!(found(&circle), ["b.rhai:1:1: modules import each other in a circle: a → b → a"]);
    let odd = Bundle::new("fn on_message(msg) { }").with_module("../up", "").with_module("agent", "");
    assert_eq!(found(&odd).len(), 2);
}

#[test]
fn modules_of_the_project_are_found_by_what_imports_them_and_keep_to_themselves() {
    let main = "import \"project/tax\" as tax;\nimport \"own\" as own;\nfn on_message(msg) { tax::of(own::amount()) }";
    let bundle = Bundle::new(main).with_module("own", "fn amount() { 1 }");
    assert_eq!(missing(&bundle), ["project/tax"]);
    let bundle =
        bundle.with_module("project/tax", "import \"project/rates\" as rates;\nfn of(x) { x * rates::rate() }");
    assert_eq!(missing(&bundle), ["project/rates"]);
    let whole = bundle.clone().with_module("project/rates", "fn rate() { 2 }");
    assert!(missing(&whole).is_empty());
    Program::check(&whole).unwrap();
    // A module of the project is the same for every agent: it cannot see one agent's modules.
    let leaning = bundle.with_module("project/rates", "import \"own\" as own;\nfn rate() { own::amount() }");
    assert_eq!(
        found(&leaning),
        ["project/rates.rhai:1:1: a module of the project cannot import \"own\", which is one agent's \
          (make it a module of the project and write \"project/own\")"]
    );
    // What does not parse imports nothing; the check says what is wrong with it.
    assert!(missing(&Bundle::new("import \"project/tax\" as")).is_empty());
    assert_eq!(found(&Bundle::of_modules([("project/Tax Law".to_owned(), String::new())].into())).len(), 1);
}

fn missing(bundle: &Bundle) -> Vec<String> {
    Program::missing_modules(bundle).into_iter().collect()
}

#[test]
fn a_manifest_names_the_field_that_is_wrong() {
    let error = Manifest::parse("name = \"x\"\n[http]\nalow = []\n").unwrap_err().to_string();
    assert!(error.contains("unknown field `alow`") && error.contains("line 3"), "{error}");
    assert!(Manifest::parse("name = \"Not A Slug\"").is_err());
    let manifest =
        Manifest::parse("name = \"x\"\n[budget]\nsession = \"1.5\"\n[limits]\nmemory_mb = 999\nsteps = 3").unwrap();
    assert_eq!(manifest.budget.session.unwrap().get(), 1_500_000);
    let limits = manifest.turn_limits();
    assert_eq!((limits.steps_max, limits.memory_bytes_max), (3, 64 << 20));
}

proptest! {
    #[test]
    fn any_bytes_are_checked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = Program::check(&Bundle::new(text.clone()).with_module("m", text));
    }

    #[test]
    fn any_heap_of_tokens_is_checked_without_a_panic(tokens in prop::collection::vec(
        prop::sample::select(vec![
            "fn ", "on_message", "(", ")", "{", "}", "msg", "|x|", "||", "let ", "const ", "x", "=", ";", "\"m\"", "import ",
            " as ", "m", "::", ".", "[", "]", "#{", ":", ",", "1", "2.5", "`${", "`", "if ", "else", "switch ", "=>", "loop",
            "chat", "parallel", "return ", "throw ", "try ", "catch", "+", "-", "*", "!", "?", "??", "..", "in ", "for ", "this",
            "global", "export ", "private ", "'c'", "/*", "*/", "\n",
        ]), 0..60)
    ) {
        let text = tokens.concat();
        let _ = Program::check(&Bundle::new(text.clone()).with_module("m", text));
    }

    /// Closures, captured variables and odd values in any order: what passes the check also runs without a panic.
    #[test]
    fn any_handler_that_passes_the_check_runs_without_a_panic(statements in prop::collection::vec(
        prop::sample::select(vec![
            "let a = [1, 2, 3];", "let b = #{x: a};", "let c = \"text\";", "a.push(b);", "b.y = a;", "a += c;", "c += a;",
            "a = a.map(|i| [i, a]);", "b.f = |x| x;", "a.push(|x| x);", "a.sort(|x, y| a.len());", "a.drain(|x| { a = 1; true });",
            "parallel([|| a, || { a.push(1); now() }, || b]);", "parallel(a, |x| { b = x; chat(c) });", "a.for_each(|i| b = this);",
            "b.x = a.filter(|x| b != x);", "a.reduce(|s, x| { c += x; s });", "for i in a { a.push(i); }", "c.replace(c, c);",
            "a = a.extract(0, 9) + a;", "set_state(c, a);", "try { throw b; } catch (e) { a = e; }", "c = a.to_string();",
            "a[0] = a;", "b[c] = b;", "if a == b { return a; }", "let d = () ?? a;", "switch a { 1 => (), _ => b }", "exit(a);",
            "a = a.zip(a, |x, y| a);", "c = `${a}${b}`;", "c.pad(99, c);", "a.pad(99, a);", "a = c.split(\"\");", "b.mixin(b);",
        ]), 0..12)
    ) {
        let body = format!("let a = []; let b = #{{}}; let c = \"\"; {}", statements.concat());
        let Ok(program) = Program::check(&Bundle::new(format!("fn on_message(msg) {{ {body} }}"))) else { return Ok(()) };
        let limits = steward_scripting::Limits { operations_max: 400, memory_bytes_max: 2 << 20, ..Default::default() };
        let mut host = steward_scripting::testing::RecordingHost::default();
        let end = program.run_turn("on_message", &serde_json::Value::Null, &mut host, &limits);
        if let steward_scripting::TurnEnd::Failed(error) = end {
            prop_assert_ne!(error.code, steward_types::ErrorCode::Internal, "{}", body);
        }
    }
}
