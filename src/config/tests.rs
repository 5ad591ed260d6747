//! Settings: what is refused, and that the refusal says what to do.

use super::*;

fn check(change: impl FnOnce(&mut RawSettings)) -> Result<Config, ConfigError> {
    let mut raw = RawSettings::default();
    change(&mut raw);
    Config::check(raw)
}

fn refusal(change: impl FnOnce(&mut RawSettings)) -> String {
    check(change).expect_err("it is refused").0
}

#[test]
fn plain_http_off_loopback_is_refused_unless_a_proxy_is_named() {
    assert!(refusal(|raw| raw.listen = Some("0.0.0.0:8787".into())).contains("trusted_proxies"));
    assert!(check(|raw| raw.listen = Some("[::1]:8787".into())).is_ok());
    let behind_proxy = check(|raw| {
        raw.listen = Some("0.0.0.0:8787".into());
        raw.trusted_proxies = Some(vec!["10.0.0.0/8".into()]);
    });
    assert!(behind_proxy.is_ok());
}

#[test]
fn the_example_key_is_refused_off_loopback() {
    let config = check(|raw| {
        raw.master_key = Some(EXAMPLE_KEY.to_owned());
        raw.listen = Some("0.0.0.0:8787".into());
        raw.trusted_proxies = Some(vec!["10.0.0.1".into()]);
    });

    let refused = config.expect("the settings are sound").read_master_key();

    assert!(refused.expect_err("the key is public").0.contains("key generate"));
}

#[test]
fn a_master_key_as_value_and_as_file_is_refused_and_not_repeated() {
    let refused = refusal(|raw| {
        raw.master_key = Some("ab".repeat(32));
        raw.master_key_file = Some("k".into());
    });

    assert!(refused.contains("not both"));
    assert!(!refused.contains("abab"));
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("master.key");
    std::fs::write(&path, "ab".repeat(32)).expect("written");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(read_key(&path).expect_err("others can read it").0.contains("chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
    assert_eq!(read_key(&path).expect("only we can").expose(), &[0xab; 32]);
}

#[test]
fn a_master_key_is_read_as_digits_or_as_raw_bytes_and_as_nothing_else() {
    assert_eq!(secret::parse_key(vec![9; 32]).expect("raw").expose(), &[9; 32]);
    assert_eq!(secret::parse_key(format!(" {}\n", "0F".repeat(32)).into_bytes()).expect("digits").expose(), &[15; 32]);
    for wrong in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
        assert!(secret::parse_key(wrong.as_bytes().to_vec()).is_err());
    }
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_its_line_and_without_its_value() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("callvault.toml");
    std::fs::write(&path, "data_dir = \"x\"\nmaster_kee = \"secret-value\"\n").expect("written");

    let refused = refusal(|raw| raw.config = Some(path));

    assert!(refused.contains("line 2") && refused.contains("master_kee"), "{refused}");
    assert!(!refused.contains("secret-value"));
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("callvault.toml");
    std::fs::write(&path, "listen = \"127.0.0.1:1\"\n[upload]\nidle = \"5s\"\nbytes_max = \"1MiB\"\n")
        .expect("written");

    let config = check(|raw| {
        raw.config = Some(path);
        raw.listen = Some("127.0.0.1:2".into());
    })
    .expect("the settings are sound");

    assert_eq!(config.listen.port(), 2);
    assert_eq!((config.upload_idle.as_secs(), config.upload.bytes_max), (5, 1 << 20));
    assert_eq!(config.upload.count_max, UPLOAD_COUNT_MAX);
}

#[test]
fn sizes_and_times_are_read_with_their_units_and_nonsense_is_refused() {
    assert_eq!(size("s", Some("64MiB"), 0).ok(), Some(64 << 20));
    assert_eq!(size("s", Some("5"), 0).ok(), Some(5));
    assert_eq!(duration("d", Some("1h"), Duration::ZERO).ok(), Some(Duration::from_secs(3600)));
    for wrong in ["64MB", "-1", "x", "", "99999999999TiB"] {
        assert!(size("s", Some(wrong), 0).is_err(), "{wrong}");
    }
    for wrong in ["0s", "-1s", "soon", ""] {
        assert!(duration("d", Some(wrong), Duration::ZERO).is_err(), "{wrong}");
    }
}

#[test]
fn half_of_what_tls_needs_is_refused_with_the_other_half() {
    assert!(refusal(|raw| raw.tls.cert = Some("cert.pem".into())).contains("tls.key"));
    assert!(refusal(|raw| raw.tls.key = Some("key.pem".into())).contains("tls.cert"));
    assert!(refusal(|raw| raw.tls.client_ca = Some("ca.pem".into())).contains("tls.cert"));
    let required = refusal(|raw| {
        (raw.tls.cert, raw.tls.key) = (Some("cert.pem".into()), Some("key.pem".into()));
        raw.tls.client_required = Some(true);
    });
    assert!(required.contains("tls.client_ca"), "{required}");
}

#[test]
fn servers_that_reach_each_other_by_plain_http_are_refused_tls() {
    let refused = refusal(|raw| {
        (raw.tls.cert, raw.tls.key) = (Some("cert.pem".into()), Some("key.pem".into()));
        raw.replica.url = Some("http://vault-0:8787".into());
    });

    assert!(refused.contains("replica.url") && refused.contains("proxy"), "{refused}");
}

#[test]
fn with_tls_any_address_may_be_served() {
    let config = check(|raw| {
        raw.listen = Some("0.0.0.0:8787".into());
        (raw.tls.cert, raw.tls.key) = (Some("cert.pem".into()), Some("key.pem".into()));
    });

    assert!(config.is_ok_and(|config| config.tls.is_some()));
}

#[test]
fn an_origin_that_no_browser_would_send_is_refused() {
    let origins = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let good = origins(&["https://portal.example.com", "http://localhost:3000", "https://[::1]:8443"]);
    assert_eq!(check(|raw| raw.cors.origins = Some(good)).expect("three origins").cors_origins.len(), 3);

    for wrong in [
        "*",
        "null",
        "",
        "https://*",
        "https://Portal.example.com",
        "https://a.example/",
        "https://a.example:443",
        "a.example",
    ] {
        let refused = check(|raw| raw.cors.origins = Some(origins(&[wrong])));
        assert!(refused.is_err_and(|error| error.0.contains("cors.origins")), "{wrong}");
    }
}

#[test]
fn a_refused_catalog_url_says_how_to_write_it_and_repeats_no_password() {
    let urls = [
        "postgres://vault:s3cret@db",
        "postgres://vault:s3cret@/x",
        "postgres://:s3cret@db/x",
        "postgres://vault:s3cret@db/x?sslmode=never",
        "postgres://vault:s3cret@db:port/x",
        "postgress://vault:s3cret@db/x",
    ];
    for url in urls {
        let refused = refusal(|raw| raw.catalog = Some(url.into()));
        assert!(refused.contains("postgres://<user>"), "{refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
    let config = check(|raw| raw.catalog = Some("postgres://vault:s3cret@db/x?sslmode=verify-full".into()));
    let shown = format!("{:?}", config.expect("it is sound").catalog);
    assert!(shown.contains("db:5432/x") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_password_file_is_read_alone_and_only_when_nobody_else_can() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("password");
    std::fs::write(&path, "s3cret\n").expect("written");
    let with_url = |url: &str| {
        let (url, path) = (url.to_owned(), path.clone());
        check(move |raw| {
            raw.catalog = Some(url);
            raw.postgres.password_file = Some(path);
        })
    };

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(with_url("postgres://vault@db/x").expect_err("others can read it").0.contains("chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
    assert!(with_url("postgres://vault@db/x").is_ok());
    let both = with_url("postgres://vault:other@db/x").expect_err("two passwords").0;
    assert!(both.contains("not both") && !both.contains("other") && !both.contains("s3cret"));
}

#[test]
fn limits_of_postgresql_are_checked_before_it_is_reached() {
    let with = |change: fn(&mut RawSettings)| {
        refusal(move |raw| {
            raw.catalog = Some("postgres://vault@db/x".into());
            change(raw);
        })
    };
    assert!(with(|raw| raw.postgres.pool_max = Some(0)).contains("pool_max"));
    assert!(with(|raw| raw.postgres.gone_keep = Some("1h".into())).contains("672h"));
    assert!(with(|raw| raw.postgres.statement_timeout = Some("soon".into())).contains("statement_timeout"));
    assert!(with(|raw| raw.postgres.connect_timeout = Some("0s".into())).contains("connect_timeout"));
}
