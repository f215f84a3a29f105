use super::*;

fn reason(key: &str, value: &str) -> String {
    let found = problems(&[&format!("telemetry.{key} = '{value}'")]);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn only_loopback_addresses_are_served() {
    for good_address in ["127.0.0.1:9471", "127.8.9.1:1", "[::1]:65535"] {
        assert_eq!(good(&format!("telemetry.http = '{good_address}'")).telemetry.http, good_address.parse().ok());
    }
    for bad in ["0.0.0.0:9471", "192.168.1.2:9471", "[::]:9471"] {
        assert!(reason("http", bad).contains("no login"), "{bad}");
    }
    for bad in ["9471", "localhost:9471", "127.0.0.1", "127.0.0.1:65536", ""] {
        assert!(reason("http", bad).contains("write a loopback address with its port"), "{bad}");
    }
    assert!(reason("http", "127.0.0.1:0").contains("allowed are 1 to 65535"));
}

#[test]
fn the_collector_reads_files_that_end_in_prom() {
    let path = good("telemetry.textfile = 'out/promptd.prom'").telemetry.textfile.unwrap();
    assert_eq!(path.to_str(), Some("/etc/promptd/out/promptd.prom"));
    for bad in ["/tmp/promptd", "/tmp/promptd.txt", "/tmp/.prom"] {
        assert!(reason("textfile", bad).contains("must end in \".prom\""), "{bad}");
    }
}

#[test]
fn the_shorter_interval_is_no_longer_than_the_other() {
    assert!(reason("stream_interval", "2m").contains("at most telemetry.interval"));
    assert!(reason("health_min_interval", "6m").contains("at most telemetry.health_max_interval"));
}
