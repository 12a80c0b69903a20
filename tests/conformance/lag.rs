//! How soon an event of the API is on the timeline: from the moment at which its bytes are at the harness' socket until its line is in the file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chaos::experiment::Controller;
use chaos::measure::Clock;
use chaos::model::EventKind;
use chaos::run::Timeline;
use chaos::target::{Names, Watch};
use serde_json::{Value, json};

/// How many events are told, one after the other.
const EVENTS: usize = 300;

fn pod(version: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "mssql-0", "namespace": "x", "uid": "u", "resourceVersion": version.to_string() },
        "spec": { "containers": [{ "name": "mssql" }], "nodeName": "n" },
        "status": { "phase": "Running", "podIP": format!("10.0.0.{}", version % 250) },
    })
}

/// An API server on one connection: it lists nothing, and its watch of pods tells what comes through the channel. Every other watch stays silent.
fn serve(mut stream: TcpStream, pods: &Mutex<Option<Receiver<String>>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if requests.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        if !target.contains("watch=true") {
            let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": [] }).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{list}", list.len())?;
            continue;
        }
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let events = if target.contains("/pods?") { pods.lock().unwrap().take() } else { None };
        for line in events.into_iter().flatten() {
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        }
        // The end of the connection is what ends a silent watch.
        requests.read_line(&mut head)?;
        return Ok(());
    }
}

/// The promise is 10 ms. The median is held to it, since this test shares its cores with every other; the figures are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_on_the_timeline_within_ten_milliseconds_of_its_arrival() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    let told = Arc::new(Mutex::new(Some(told)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = Arc::clone(&told);
            std::thread::spawn(move || serve(stream, &told));
        }
    });
    let client = kube::Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let timeline = Timeline::create(folder.path(), Clock::start(), None).unwrap();
    let (written, lines) = channel();
    let emit = {
        let timeline = timeline.clone();
        Arc::new(move |kind| {
            let of_pod = matches!(kind, EventKind::Pod { .. });
            timeline.emit(kind);
            if of_pod {
                let _ = written.send(Instant::now());
            }
        })
    };
    let _watch = Watch::start(&client, &Names::new("x".to_owned(), Controller::StatefulSet), emit);
    let mut lags = Vec::new();
    for version in 2..2 + EVENTS {
        let kind = if version == 2 { "ADDED" } else { "MODIFIED" };
        let line = format!("{}\n", json!({ "type": kind, "object": pod(version) }));
        let arrived = Instant::now();
        tell.send(line).unwrap();
        let at = tokio::task::block_in_place(|| lines.recv_timeout(Duration::from_secs(20))).expect("the event is told");
        // The first one waits for the watches to begin.
        if version > 2 {
            lags.push(at - arrived);
        }
    }
    timeline.finish();
    let text = fs::read_to_string(folder.path().join("timeline.jsonl")).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"event\":\"pod\"")).count(), EVENTS);
    lags.sort();
    let at = |share: usize| lags[(lags.len() - 1) * share / 100];
    eprintln!("from arrival to the timeline, n = {}: median {:?}, p99 {:?}, longest {:?}", lags.len(), at(50), at(99), at(100));
    assert!(at(50) < Duration::from_millis(10), "median {:?}", at(50));
}
