//! The manifests of k8s/ and the image: they are what Kubernetes takes, and name nothing that the program does not know.

mod keys_in_s3;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::wire::Wire;
use crate::support::{Mount, Vault, binary, copy_dir, files, free_address, wait_until};

/// The user and group of the image.
const NOBODY: u32 = 65_532;
/// Settings that an overlay must give: without them a server refuses to start, or stores in the wrong place.
const OF_THE_SITE: [&str; 2] = ["CALLVAULT_STORE", "CALLVAULT_TRUSTED_PROXIES"];
const SECRETS: &str = "/run/secrets/callvault";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tool(name: &str) -> PathBuf {
    root().join("target/test-clients").join(name)
}

/// A copy of k8s/ with the secrets that k8s/README.md tells to make.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    copy_dir(&root().join("k8s"), &dir.path().join("k8s"));
    let secrets = dir.path().join("k8s/overlays/example/secrets");
    let key = Command::new(binary()).args(["key", "generate"]).output().expect("the binary runs");
    assert!(key.status.success());
    fs::write(secrets.join("master.key"), key.stdout).expect("written");
    fs::write(secrets.join("callvault.toml"), "catalog = \"sqlite:///var/lib/callvault/catalog.db\"\n")
        .expect("written");
    dir
}

fn build(directory: &Path) -> Output {
    let mut python = Command::new("python3");
    python.arg(root().join("tests/it/manifests/render.py")).arg(directory);
    python.env("PYTHONPATH", tool("kubernetes")).env("KUSTOMIZE", tool("kustomize"));
    python.output().expect("python3 is there; tests/run installs what it needs")
}

/// The resources of the example overlay.
fn resources() -> &'static [Value] {
    static BUILT: OnceLock<Vec<Value>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let tree = tree();
        let output = build(&tree.path().join("k8s/overlays/example"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    })
}

fn resource(kind: &str, name: &str) -> &'static Value {
    resource_of(resources(), kind, name)
}

fn resource_of<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |resource: &&Value| resource["kind"] == kind && resource["metadata"]["name"] == name;
    resources.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The pods that the manifests make: who makes them, and their specification.
fn pods() -> [(&'static str, &'static Value); 3] {
    pods_of(resources())
}

fn pods_of(resources: &[Value]) -> [(&'static str, &Value); 3] {
    let job = |name| &resource_of(resources, "CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    [
        ("server", &resource_of(resources, "StatefulSet", "callvault")["spec"]["template"]["spec"]),
        ("expire", job("callvault-expire")),
        ("init", job("callvault-init")),
    ]
}

fn container(pod: &Value) -> &Value {
    assert_eq!(list(&pod["containers"]).count(), 1, "one container each");
    &pod["containers"][0]
}

fn environment(pod: &Value) -> BTreeMap<String, String> {
    environment_of(resources(), pod)
}

/// What a container finds in its environment. Names that the kubelet fills in have the value that it would give to the first
/// replica.
fn environment_of(resources: &[Value], pod: &Value) -> BTreeMap<String, String> {
    let named = |resource: &&Value| text(&resource["metadata"]["name"]).starts_with("callvault-settings");
    let settings = resources.iter().filter(|resource| resource["kind"] == "ConfigMap").find(named);
    let settings = settings.expect("the settings are there")["data"].as_object().expect("settings");
    let mut found: BTreeMap<_, _> =
        settings.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
    for variable in list(&container(pod)["env"]) {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => "callvault-0".to_owned(),
            Some(other) => panic!("{other} is not known to this test"),
            None => text(&variable["value"]).replace("$(CALLVAULT_REPLICA_NAME)", "callvault-0"),
        };
        found.insert(text(&variable["name"]).to_owned(), value);
    }
    found
}

fn promtool(args: &[&str], input: Option<&Path>) -> Output {
    let mut command = Command::new(tool("promtool"));
    if let Some(input) = input {
        command.stdin(fs::File::open(input).expect("it is there"));
    }
    command.args(args).output().expect("tests/run fetches promtool")
}

#[test]
fn manifests_hold_to_the_schemas_of_kubernetes_and_a_broken_one_does_not() {
    assert!(resources().len() > 15, "the example has all its parts");
    let tree = tree();
    let base = build(&tree.path().join("k8s/base"));
    assert!(base.status.success(), "{}", String::from_utf8_lossy(&base.stderr));

    let server = tree.path().join("k8s/base/server.yaml");
    let sound = fs::read_to_string(&server).expect("it is there");
    for (what, broken) in [
        ("a name that is none", sound.replace("readOnlyRootFilesystem", "readonlyRootFilesystem")),
        (
            "a number as text",
            sound.replace("terminationGracePeriodSeconds: 125", "terminationGracePeriodSeconds: soon"),
        ),
        ("a file that is not listed", String::new()),
    ] {
        assert_ne!(broken, sound, "{what}");
        if broken.is_empty() { fs::remove_file(&server) } else { fs::write(&server, broken) }.expect("it is changed");

        assert!(!build(&tree.path().join("k8s/base")).status.success(), "{what} was taken");
    }
}

#[test]
fn every_file_of_the_manifests_is_used_by_a_kustomization() {
    let apart = ["kustomization.yaml", "README.md", "image", ".gitignore"];
    for path in files(&root().join("k8s")) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let folder = path.parent().expect("a folder");
        if apart.contains(&name.as_str()) || folder.ends_with("secrets") {
            continue;
        }
        let listing = fs::read_to_string(folder.join("kustomization.yaml")).expect("a kustomization");
        assert!(listing.contains(&name), "{} is listed nowhere", path.display());
    }
}

/// Every variable is one of the program's, and every path that one names is mounted.
fn assert_known(who: &str, container: &Value, environment: &BTreeMap<String, String>) {
    let help = Command::new(binary()).args(["serve", "--help"]).output().expect("the binary runs");
    // Without its line breaks.
    let help = String::from_utf8_lossy(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let mounts: BTreeSet<_> = list(&container["volumeMounts"]).map(|mount| text(&mount["mountPath"])).collect();
    for (name, value) in environment {
        let known = help.contains(&format!("[env: {name}="))
            || ["CALLVAULT_LOG", "CALLVAULT_LOG_FORMAT"].contains(&name.as_str())
            || name.starts_with("AWS_");
        assert!(known, "{who}: the program knows no {name}");
        let places = value.split(',').map(|place| place.strip_prefix("file://").unwrap_or(place));
        for place in places.filter(|place| place.starts_with('/')) {
            let is_mounted = mounts.iter().any(|mount| Path::new(place).starts_with(mount));
            assert!(is_mounted, "{who}: {name} names {place}, and nothing is mounted there");
        }
    }
}

#[test]
fn every_variable_flag_port_and_path_of_a_manifest_is_known_to_the_program() {
    for (who, pod) in pods() {
        let (container, environment) = (container(pod), environment(pod));
        assert_known(who, container, &environment);
        for name in OF_THE_SITE {
            assert!(environment.contains_key(name), "{who}: {name} is missing");
        }
        // A command that is not there, and a flag that it does not take, are refused before anything is read.
        let args: Vec<_> = list(&container["args"]).map(text).collect();
        let parsed = Command::new(binary()).args(&args).arg("--help").output().expect("the binary runs");
        assert!(parsed.status.success(), "{who}: {args:?}: {}", String::from_utf8_lossy(&parsed.stderr));
        assert!(container.get("command").is_none(), "{who}: the image's entry point is the program");
    }
    let server = container(pods()[0].1);
    let environment = environment(pods()[0].1);
    let port = |name: &str| {
        let found = list(&server["ports"]).find(|port| port["name"] == name).expect("the port has a name");
        found["containerPort"].as_u64().expect("a number")
    };
    for (name, variable) in [("http", "CALLVAULT_LISTEN"), ("metrics", "CALLVAULT_METRICS_LISTEN")] {
        assert_eq!(environment[variable], format!("0.0.0.0:{}", port(name)), "{variable}");
    }
    let url = format!("http://callvault-0.callvault-replicas:{}", port("http"));
    assert_eq!(environment["CALLVAULT_REPLICA_URL"], url);
    assert_eq!(resource("StatefulSet", "callvault")["spec"]["serviceName"], "callvault-replicas");
    assert_eq!(resource("Service", "callvault-replicas")["spec"]["clusterIP"], "None");
    for service in ["callvault", "callvault-replicas"] {
        for port in list(&resource("Service", service)["spec"]["ports"]) {
            assert!(list(&server["ports"]).any(|one| one["name"] == port["targetPort"]), "{service}: {port}");
        }
    }
    let backend = &resource("Ingress", "callvault")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!((&backend["name"], &backend["port"]["name"]), (&"callvault".into(), &"http".into()));
    let monitor = &resource("ServiceMonitor", "callvault")["spec"];
    let labels = &resource("Service", "callvault-replicas")["metadata"]["labels"];
    for (label, value) in monitor["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&labels[label], value, "the monitor finds the service of the replicas");
    }
    assert_eq!(
        (&monitor["endpoints"][0]["port"], &monitor["endpoints"][0]["path"]),
        (&"metrics".into(), &"/metrics".into())
    );
}

#[test]
fn every_pod_runs_as_nobody_and_only_the_jobs_can_write_keys() {
    for (who, pod) in pods() {
        let (container, context) = (container(pod), &pod["securityContext"]);
        assert_eq!(context["runAsNonRoot"], true, "{who}");
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(context[id], NOBODY, "{who}: {id}");
        }
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{who}");
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{who}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{who}");
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{who}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{who}");
        let is_secret = |variable: &&Value| !variable["valueFrom"]["secretKeyRef"].is_null();
        assert_eq!(list(&container["env"]).find(is_secret), None, "{who}: secrets come as files");
        assert!(list(&container["envFrom"]).all(|from| from["secretRef"].is_null()), "{who}");

        let is_server = who == "server";
        let account = if is_server { "callvault" } else { "callvault-expire" };
        assert_eq!(pod["serviceAccountName"], account, "{who}");
        let keys = list(&container["volumeMounts"]).filter(|mount| {
            let path = text(&mount["mountPath"]);
            path.starts_with("/var/lib/callvault-keys/") || path.starts_with("/var/lib/callvault-generations/")
        });
        let keys: Vec<_> = keys.map(|mount| mount["readOnly"] == true).collect();
        assert_eq!(keys, vec![is_server; 4], "{who}: two mirrors of each, read-only for a server");
        for volume in list(&pod["volumes"]).filter(|volume| !volume["persistentVolumeClaim"].is_null()) {
            assert_eq!(volume["persistentVolumeClaim"]["readOnly"] == true, is_server, "{who}: {volume}");
        }
    }
    let labels = &resource("Namespace", "callvault")["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn times_and_sizes_in_the_manifests_follow_from_settings_and_measured_figures() {
    let pod = pods()[0].1;
    let environment = environment(pod);
    let drain_s: u64 = environment["CALLVAULT_DRAIN_TIMEOUT"].trim_end_matches('s').parse().expect("seconds");
    let stop_s = container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("seconds");
    // README, "Stopping and updating": the drain, and ten seconds.
    assert_eq!(pod["terminationGracePeriodSeconds"], stop_s + drain_s + 10);
    assert_eq!(environment["CALLVAULT_EXPIRE_EVERY"], "never", "the CronJob does it");

    // README, "Measured": so much for each of upload.count_max calls after a restart; 3 KiB for each of upload.open_max
    // uploads, 16 MiB for each of 16 transfers to the store.
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let figure =
        readme.split("memory for each call, the start included | ").nth(1).and_then(|rest| rest.split(' ').next());
    let call_kib: u64 = figure.and_then(|figure| figure.parse().ok()).expect("the README has the figure");
    let needed_kib = 10_000 * call_kib + 50_000 * 3 + 16 * (16 << 10);
    let limit = text(&container(pod)["resources"]["limits"]["memory"]);
    let limit_mib: u64 = limit.strip_suffix("Mi").expect("MiB").parse().expect("a number");
    assert!(limit_mib * 1024 > needed_kib, "{limit} for {needed_kib} KiB");
    // A spool of its full size fits on its volume.
    let claim = &resource("StatefulSet", "callvault")["spec"]["volumeClaimTemplates"][0]["spec"];
    let volume_gib: u64 =
        text(&claim["resources"]["requests"]["storage"]).strip_suffix("Gi").expect("GiB").parse().expect("a number");
    assert!(volume_gib > 64, "spool.bytes_max is 64 GiB");

    let expire = &resource("CronJob", "callvault-expire")["spec"];
    assert_eq!((&expire["concurrencyPolicy"], &expire["schedule"]), (&"Forbid".into(), &"7 * * * *".into()));
    let deadline_s = expire["jobTemplate"]["spec"]["activeDeadlineSeconds"].as_u64().expect("seconds");
    assert!(deadline_s < 3_600, "a run that hangs is gone before the next");
    let ingress = &resource("Ingress", "callvault")["metadata"]["annotations"];
    let annotation = |name: &str| text(&ingress[format!("nginx.ingress.kubernetes.io/{name}")]);
    assert_eq!((annotation("proxy-request-buffering"), annotation("proxy-body-size")), ("off", "0"));
    for timeout in ["proxy-read-timeout", "proxy-send-timeout"] {
        assert!(annotation(timeout).parse::<u64>().expect("seconds") > 30, "longer than upload.idle: {timeout}");
    }
}

/// A container of the image, without a runtime: its root, its user, its mounts and its environment.
struct Image {
    dir: TempDir,
    /// Taken away in the reverse order.
    mounts: Vec<Mount>,
}

impl Image {
    /// Made by the script that the Dockerfile calls.
    fn assembled() -> Image {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
        let script = Command::new(root().join("k8s/image")).arg(binary()).arg(dir.path().join("root")).status();
        assert!(script.expect("it runs").success());
        Image { dir, mounts: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Volumes as the kubelet gives them: root's, and the group's; then a root that takes nothing.
    fn mount(&mut self, pod: &Value) {
        self.unmount();
        let targets = list(&container(pod)["volumeMounts"]);
        for path in targets.clone().map(|mount| text(&mount["mountPath"])) {
            fs::create_dir_all(self.root().join(&path[1..])).expect("a mount point");
        }
        self.mounts.push(Mount::read_only(&self.root()));
        for mount in targets {
            let path = text(&mount["mountPath"]);
            let volume = self.dir.path().join("volumes").join(path[1..].replace('/', "-"));
            fs::create_dir_all(&volume).expect("a volume");
            chown(&volume, Some(0), Some(NOBODY)).expect("given to the group");
            fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775)).expect("changed");
            if path == SECRETS && files(&volume).is_empty() {
                self.fill_secrets(&volume);
            }
            self.mounts.push(Mount::bound(&volume, &self.root().join(&path[1..]), mount["readOnly"] == true));
        }
    }

    fn unmount(&mut self) {
        while self.mounts.pop().is_some() {}
    }

    fn fill_secrets(&self, volume: &Path) {
        for path in files(&tree().path().join("k8s/overlays/example/secrets")) {
            let file = volume.join(path.file_name().expect("a name"));
            fs::write(&file, fs::read(&path).expect("a secret")).expect("written");
            chown(&file, Some(0), Some(NOBODY)).expect("given to the group");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).expect("changed");
        }
    }

    /// The container's command, as its user. What lies outside of this machine is replaced: the store, and the ports.
    fn command(&self, pod: &Value, metrics: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={NOBODY}:{NOBODY}")).arg(self.root()).arg("/usr/local/bin/callvault");
        command.args(list(&container(pod)["args"]).map(text));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment(pod));
        command.env("CALLVAULT_STORE", "file:///var/lib/callvault/objects");
        command.env("CALLVAULT_LISTEN", "127.0.0.1:0").env("CALLVAULT_METRICS_LISTEN", metrics);
        command
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Killed when it is dropped, before what it stands on is taken away.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn status_of(address: &str, target: &str) -> u16 {
    let mut wire = Wire::connect(address);
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: v\r\nConnection: close\r\n\r\n")).expect("a head");
    wire.answer().expect("an answer").status
}

#[test]
fn the_image_starts_as_its_user_on_a_root_that_it_cannot_write_and_answers_its_probes() {
    let [(_, server), (_, expire), (_, init)] = pods();
    let mut image = Image::assembled();
    let metrics = free_address();
    // The catalog is a file here, and belongs to whoever has the spool's volume: the jobs get it, too.
    let run = |image: &mut Image, pod: &Value| {
        image.mount(pod);
        let output = image.command(pod, &metrics).output().expect("chroot(8) is there, and this is root");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&mut image, init);

    image.mount(server);
    let log = image.dir.path().join("log");
    let mut command = image.command(server, &metrics);
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).expect("a log"));
    let mut running = Running(command.spawn().expect("it starts"));

    let container = container(server);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["port"], "metrics", "{probe}");
        let path = text(&asked["path"]);
        wait_until("the server answers", || {
            assert!(running.0.try_wait().expect("a state").is_none(), "{}", fs::read_to_string(&log).expect("a log"));
            std::net::TcpStream::connect(&metrics).is_ok()
        });
        assert_eq!(status_of(&metrics, path), 200, "{probe}: {path}");
    }
    assert_eq!(status_of(&metrics, "/metrics"), 200);
    let log = fs::read_to_string(&log).expect("a log");
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "CALLVAULT_LOG_FORMAT: {log}");
    drop(running);
    run(&mut image, expire);
    assert!(fs::write(image.root().join("etc/x"), "x").is_err(), "the root takes nothing");
}

#[test]
fn the_dockerfile_says_the_user_the_ports_and_the_program_that_the_manifests_count_on() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("there is a Dockerfile");
    let line = |word: &str| {
        let found = dockerfile.lines().filter_map(|line| line.strip_prefix(word)).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{word} once");
        found[0].trim().to_owned()
    };

    assert_eq!(line("USER"), format!("{NOBODY}:{NOBODY}"));
    let server = container(pods()[0].1);
    let ports: Vec<_> = list(&server["ports"]).map(|port| port["containerPort"].to_string()).collect();
    assert_eq!(line("EXPOSE"), ports.join(" "));
    assert_eq!(line("ENTRYPOINT"), "[\"/usr/local/bin/callvault\"]");
    assert_eq!(line("CMD"), format!("[{}]", server["args"][0]));
    assert!(dockerfile.contains("cargo build --release --locked"), "the lock file says what is built");
    let cargo = fs::read_to_string(root().join("Cargo.toml")).expect("there is a Cargo.toml");
    let version = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    assert!(dockerfile.contains(&format!("FROM rust:{}-", version.trim_matches('"'))), "the toolchain is ours");
    for (name, _) in environment(pods()[0].1).iter().filter(|(_, value)| value.contains(SECRETS)) {
        assert!(!dockerfile.contains(name.as_str()), "no secret's place is built in");
    }
    let ignored = fs::read_to_string(root().join(".dockerignore")).expect("there is one");
    for place in ["target", ".git", "**/secrets"] {
        assert!(ignored.lines().any(|line| line == place), "{place} goes into no image");
    }
}

#[test]
fn alerts_are_made_of_metrics_that_a_server_exports_and_fire_when_they_should() {
    let groups = &resource("PrometheusRule", "callvault")["spec"];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (rules, cases) = (dir.path().join("rules.yaml"), dir.path().join("alerts.yaml"));
    // JSON is YAML.
    fs::write(&rules, groups.to_string()).expect("written");
    let text_of_cases = fs::read_to_string(root().join("tests/it/manifests/alerts.yaml")).expect("they are there");
    fs::write(&cases, &text_of_cases).expect("written");
    let vault = Vault::new();
    let metrics = free_address();
    let _server = vault.serve_with(&["--metrics-listen", &metrics], None);

    let checked = promtool(&["check", "rules", &rules.to_string_lossy()], None);
    let tested = promtool(&["test", "rules", &cases.to_string_lossy()], None);

    for output in [checked, tested] {
        let told = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    }
    let page = crate::observability::page(&metrics, None);
    for rule in list(&groups["groups"][0]["rules"]) {
        let (name, expression) = (text(&rule["alert"]), text(&rule["expr"]));
        assert!(text_of_cases.contains(&format!("alertname=\"{name}\"")), "{name} has no case");
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for metric in words.filter(|word| word.starts_with("callvault_")) {
            let is_exported =
                page.lines().any(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
            assert!(is_exported, "{name}: no server exports {metric}");
        }
    }
    let broken = dir.path().join("broken.yaml");
    fs::write(&broken, groups.to_string().replace("> 8100", "> > 8100")).expect("written");
    assert!(!promtool(&["check", "rules", &broken.to_string_lossy()], None).status.success());
}
