//! A site that keeps its mirrors in buckets, made as k8s/README.md says: no volume holds a key, who serves and who destroys have
//! secrets of their own, and the program starts with what it finds in its pods.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{assert_known, build, container, environment_of, list, pods_of, root, text, tree};
use crate::support::binary;
use crate::support::s3::{ACCESS_KEY, Bucket, SECRET_KEY};

const CREDENTIALS: &str = "/run/secrets/callvault-keys/credentials";
const MIRRORS: [&str; 4] = ["keys-a", "keys-b", "generations-a", "generations-b"];

/// The example overlay, changed by the steps of the chapter.
fn resources() -> Vec<Value> {
    let readme = fs::read_to_string(root().join("k8s/README.md")).expect("it is there");
    let chapter = readme.split("\n## ").find(|part| part.starts_with("Keys in buckets")).expect("the chapter");
    let blocks: Vec<String> = chapter.split("```yaml\n").skip(1).map(unindented).collect();
    let [places, secrets] = &blocks[..] else { panic!("two blocks: {blocks:?}") };
    let tree = tree();
    let overlay = tree.path().join("k8s/overlays/example");
    let file = overlay.join("kustomization.yaml");
    let mut site = fs::read_to_string(&file).expect("it is there");
    for (before, after) in [
        ("  - path: mirrors.yaml\n", String::new()),
        ("components:\n", "components:\n  - ../../components/keys-in-s3\n".to_owned()),
        ("    literals:\n", format!("    literals:\n{places}")),
        ("secretGenerator:\n", format!("secretGenerator:\n{secrets}")),
    ] {
        assert_eq!(site.matches(before).count(), 1, "{before}");
        site = site.replace(before, &after);
    }
    fs::write(&file, site).expect("written");
    for name in ["keys-reader", "keys-writer"] {
        fs::write(overlay.join("secrets").join(name), "[keys-a]\n").expect("written");
    }
    let output = build(&overlay);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A block that stands in a list, by three columns.
fn unindented(rest: &str) -> String {
    let block = rest.split("```").next().expect("it has an end").trim_end_matches(' ');
    block.lines().map(|line| format!("{}\n", line.strip_prefix("   ").expect("it stands in a list"))).collect()
}

#[test]
fn a_site_with_its_keys_in_buckets_mounts_none_and_parts_who_reads_them_from_who_destroys() {
    let resources = resources();

    let claims = resources.iter().filter(|resource| resource["kind"] == "PersistentVolumeClaim");
    assert_eq!(claims.count(), 0, "no volume is claimed for keys");
    for (who, pod) in pods_of(&resources) {
        let environment = environment_of(&resources, pod);
        assert_known(who, container(pod), &environment);
        assert_eq!(environment["CALLVAULT_S3_CREDENTIALS_FILE"], CREDENTIALS, "{who}");
        let stores = ["CALLVAULT_KEY_STORE", "CALLVAULT_GENERATION_STORE"].map(|name| environment[name].clone());
        let profiles: Vec<_> = stores.iter().flat_map(|places| places.split(',')).map(profile).collect();
        assert_eq!(profiles, MIRRORS, "{who}: a profile for each");
        let mut volumes: Vec<_> = list(&pod["volumes"]).map(|volume| text(&volume["name"]).to_owned()).collect();
        volumes.extend((who == "server").then(|| "spool".to_owned()));
        let mut mounted: Vec<_> =
            list(&container(pod)["volumeMounts"]).map(|mount| text(&mount["name"]).to_owned()).collect();
        volumes.sort();
        mounted.sort();
        assert_eq!(mounted, volumes, "{who}: what is mounted is there, and the other way round");
        let secret = list(&pod["volumes"]).find(|volume| volume["name"] == "key-credentials").expect("it is there");
        let wanted = if who == "server" { "callvault-keys-reader-" } else { "callvault-keys-writer-" };
        let given = text(&secret["secret"]["secretName"]);
        assert!(given.starts_with(wanted), "{who}: {given}, as kustomize names it after what is in it");
        assert_eq!(secret["secret"]["defaultMode"], 0o440, "{who}: others cannot read it");
    }
}

fn profile(place: &str) -> &str {
    place.strip_prefix("s3://").and_then(|place| place.split_once('@')).expect("s3://<profile>@<bucket>/<prefix>").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_finds_its_keys_by_profile_and_its_objects_by_the_role_of_the_pod() {
    let store = Bucket::s3s().await;
    let dir = tempfile::tempdir().expect("a directory");
    let resources = resources();
    let [_, (_, expire), (_, init)] = pods_of(&resources);

    // Who may read objects cannot be asked here: the objects lie in a directory.
    let objects = format!("file://{}/objects", dir.path().display());
    for pod in [init, expire] {
        let output = run(&resources, pod, &store, dir.path(), &[("CALLVAULT_STORE", &objects)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut keys = store.keys().await;
    keys.sort();
    let wanted = ["generations-a/secret", "generations-b/secret", "keys-a/ring", "keys-b/ring"];
    assert!(keys.iter().map(|key| key.rsplit_once('/').expect("a prefix").0).eq(wanted), "{keys:?}");

    // A role that cannot be asked for is a store that is down, and no profile that is missing.
    let nowhere = [("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"), ("CALLVAULT_STORE", "s3://bucket/objects")];
    let output = run(&resources, init, &store, dir.path(), &nowhere);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && !said.contains("profile"), "{said}");
}

/// A pod's command with its environment; what lies outside of this machine is replaced.
fn run(resources: &[Value], pod: &Value, store: &Bucket, dir: &Path, more: &[(&str, &str)]) -> Output {
    let credentials = dir.join("credentials");
    let profile = |name: &str| {
        let key = format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}");
        format!("[{name}]\n{key}\nendpoint_url = {}\n", store.endpoint())
    };
    fs::write(&credentials, MIRRORS.map(profile).concat()).expect("written");
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o440)).expect("changed");
    let token = dir.join("token");
    fs::write(&token, "of the cluster").expect("written");
    let mut command = Command::new(binary());
    command.args(list(&container(pod)["args"]).map(text)).env_clear().envs(environment_of(resources, pod));
    command.env_remove("CALLVAULT_CONFIG").env_remove("CALLVAULT_SPOOL_DIR").env_remove("CALLVAULT_MASTER_KEY_FILE");
    command.env("CALLVAULT_DATA_DIR", dir.join("data")).env("CALLVAULT_S3_CREDENTIALS_FILE", &credentials);
    for name in ["CALLVAULT_KEY_STORE", "CALLVAULT_GENERATION_STORE"] {
        let places = environment_of(resources, pod)[name].replace("@example-", "@bucket/");
        command.env(name, places);
    }
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).env("CALLVAULT_S3_RETRIES_MAX", "0");
    command.envs(more.iter().copied()).output().expect("the binary runs")
}
