//! Text pages for whoever scrapes them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A page that is served for as long as the process lives.
pub struct Served {
    pub address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Served {
    /// How often it was asked for.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Serves what `page` makes on a free port; it is given how often it was asked before.
pub fn serve(page: impl Fn(usize) -> Arc<str> + Send + Sync + 'static) -> Served {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound listener has an address");
    let count = Arc::new(AtomicUsize::new(0));
    let served = Served { address, count: Arc::clone(&count) };
    let page = Arc::new(page);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (page, count) = (Arc::clone(&page), Arc::clone(&count));
            // A scraper that hangs up is no concern of the others.
            std::thread::spawn(move || drop(answer(stream, &*page, &count)));
        }
    });
    served
}

fn answer(stream: TcpStream, page: &dyn Fn(usize) -> Arc<str>, count: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let body = page(count.fetch_add(1, Ordering::Relaxed));
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\r\n");
        stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    }
}

/// A page as long as the engine's: mostly histograms, of which most buckets stand still from round to round.
pub fn engine_like(round: usize) -> String {
    const FAMILIES: usize = 40;
    const ROUTES: usize = 25;
    const BOUNDS: [&str; 12] =
        ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
    let mut text = String::new();
    for family in 0..FAMILIES {
        let name = format!("rivet_guard_request_duration_{family}_seconds");
        let _ = writeln!(text, "# HELP {name} Time to answer, by route.\n# TYPE {name} histogram");
        for route in 0..ROUTES {
            let labels = format!("otel_scope_name=\"rivet-guard\",method=\"GET\",path=\"/actors/{route}\"");
            let moves = if route % 5 == 0 { round } else { 1 };
            for (n, bound) in BOUNDS.iter().enumerate() {
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {}", (n + 1) * moves * (family + 3));
            }
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}", 0.12345 * (moves * (family + 3)) as f64);
            let _ = writeln!(text, "{name}_count{{{labels}}} {}", BOUNDS.len() * moves * (family + 3));
        }
    }
    text
}
