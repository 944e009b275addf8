//! What is given away beside the program is well formed, and its policies are.

use std::path::{Path, PathBuf};

use guard_userspace::policy::parse;
use serde_json::Value;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn documents(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(packaging().join("examples").join(name)).unwrap();
    serde_yaml::from_multiple(&text).unwrap()
}

fn check(text: &str, name: &str) {
    let path = std::env::temp_dir().join(format!("guard-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let parsed = parse::load(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(parsed.policy.is_some(), "{:?}", parsed.report.diagnostics);
}

#[test]
fn the_daemon_set_has_what_kubernetes_asks_for_and_a_policy_without_errors() {
    let documents = documents("daemonset.yaml");
    let kinds: Vec<&str> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["Namespace", "ConfigMap", "DaemonSet"]);
    assert!(documents.iter().all(|document| document["apiVersion"].is_string()));
    let template = &documents[2]["spec"]["template"];
    let wanted = &documents[2]["spec"]["selector"]["matchLabels"];
    assert_eq!(&template["metadata"]["labels"], wanted);
    let volumes: Vec<&Value> =
        template["spec"]["volumes"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    for mount in template["spec"]["containers"][0]["volumeMounts"].as_array().unwrap() {
        assert!(volumes.contains(&&mount["name"]), "{mount}");
    }
    check(documents[1]["data"]["agents.yaml"].as_str().unwrap(), "daemonset.yaml");
}

#[test]
fn the_compose_file_names_its_services() {
    let documents = documents("compose.yaml");
    let [compose] = documents.as_slice() else { panic!("one document, not {}", documents.len()) };
    let services = compose["services"].as_object().unwrap();
    assert!(services.values().all(|service| service["image"].is_string()));
    assert_eq!(services["agent"]["depends_on"][0], "guard");
}

#[test]
fn the_policy_of_a_fresh_installation_only_watches() {
    let text = std::fs::read_to_string(packaging().join("debian/agents.yaml")).unwrap();
    assert!(text.contains("\nmode: shadow\n"));
    check(&text, "agents.yaml");
}
