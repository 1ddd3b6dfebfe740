//! A HAProxy of our own on free ports, with stand-in servers inside it, and clients that keep their connections.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, PoisonError},
    sync::{Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use shadowcast::traffic::haproxy::HaproxyDirector;
use tempfile::TempDir;

const CLIENTS: usize = 4;

/// How often each answer came: by its body where the status was 200, else by the status.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub fn count(&self, answer: &str) -> u64 {
        self.0.get(answer).copied().unwrap_or(0)
    }

    pub fn part(&self, answer: &str) -> f64 {
        self.count(answer) as f64 / self.total() as f64
    }

    pub fn add(&mut self, other: &Self) {
        for (answer, count) in &other.0 {
            *self.0.entry(answer.clone()).or_default() += count;
        }
    }
}

pub struct Balancer {
    process: Child,
    folder: TempDir,
    ports: BTreeMap<&'static str, u16>,
    /// Where the stand-in for the shadow listens.
    pub shadow_port: u16,
}

impl Balancer {
    /// `None`, said by name, where HAProxy is not installed.
    pub fn start(test: &str) -> Option<Self> {
        // A free port may be taken by somebody else before HAProxy has it.
        for _ in 0..5 {
            match Self::try_start() {
                Ok(Some(balancer)) => return Some(balancer),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    println!("SKIPPED {test}: haproxy is not installed");
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("HAProxy did not start in five attempts");
    }

    fn try_start() -> std::io::Result<Option<Self>> {
        let folder = TempDir::new()?;
        let names = ["fe", "fe_two", "fe_methods", "primary", "other", "shadow"];
        let held: Vec<_> = names
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()?;
        let ports: BTreeMap<_, _> = names
            .into_iter()
            .zip(&held)
            .map(|(name, listener)| Ok((name, listener.local_addr()?.port())))
            .collect::<std::io::Result<_>>()?;
        let config = folder.path().join("haproxy.cfg");
        fs::write(&config, configuration(&folder, &ports))?;
        for map in ["methods.map", "other.map"] {
            fs::write(folder.path().join(map), "")?;
        }
        drop(held);
        let process = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log"))?)
            .spawn()?;
        let mut balancer = Self {
            process,
            shadow_port: ports["shadow"],
            ports,
            folder,
        };
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if UnixStream::connect(balancer.socket("admin.sock")).is_ok() {
                return Ok(Some(balancer));
            }
            if balancer.process.try_wait()?.is_some() {
                eprint!(
                    "{}",
                    fs::read_to_string(balancer.folder.path().join("log"))?
                );
                return Ok(None);
            }
            assert!(Instant::now() < end, "HAProxy opened no socket");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn director(&self) -> HaproxyDirector {
        let socket = self.socket("admin.sock");
        HaproxyDirector::connect(&format!("haproxy+unix://{}", socket.display())).unwrap()
    }

    pub fn operator_uri(&self) -> String {
        format!("haproxy+unix://{}", self.socket("operator.sock").display())
    }

    /// A file as the configuration names it.
    pub fn file(&self, name: &str) -> String {
        self.socket(name).display().to_string()
    }

    /// What somebody else at the socket does.
    pub fn raw(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket("admin.sock")).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends `requests` from a few clients at once.
    pub fn load(&self, frontend: &str, path: &str, requests: usize) -> Tally {
        let port = self.ports[frontend];
        let mut sum = Tally::default();
        let clients = CLIENTS.min(requests);
        thread::scope(|scope| {
            let all: Vec<_> = (0..clients)
                .map(|client| {
                    let own = requests / clients + usize::from(client < requests % clients);
                    scope.spawn(move || client_load(port, &["GET"], path, own))
                })
                .collect();
            for client in all {
                for tally in client.join().unwrap() {
                    sum.add(&tally);
                }
            }
        });
        sum
    }

    /// Sends `requests` of every method in turn over one connection; a tally for each method.
    pub fn load_mixed(&self, frontend: &str, methods: &[&str], requests: usize) -> Vec<Tally> {
        client_load(self.ports[frontend], methods, "/", requests * methods.len())
    }

    /// Lets the process hang.
    pub fn stop_process(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Killed already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(folder: &TempDir, ports: &BTreeMap<&str, u16>) -> String {
    let folder = folder.path().display();
    let [fe, fe_two, fe_methods, primary, other, shadow] =
        ["fe", "fe_two", "fe_methods", "primary", "other", "shadow"].map(|name| ports[name]);
    format!(
        "global
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/operator.sock mode 600 level operator
  maxconn 500
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend fe
  bind 127.0.0.1:{fe}
  default_backend be
frontend fe_two
  bind 127.0.0.1:{fe_two}
  default_backend two
frontend fe_methods
  bind 127.0.0.1:{fe_methods}
  use_backend %[method,map({folder}/methods.map,be)]
  default_backend be
backend reads
  balance roundrobin
  option httpchk GET /
  server primary 127.0.0.1:{primary} weight 100 check inter 500
backend be
  balance roundrobin
  option httpchk GET /
  server primary 127.0.0.1:{primary} weight 100 check inter 500
backend two
  balance roundrobin
  option httpchk GET /
  server primary 127.0.0.1:{primary} weight 100
  server other 127.0.0.1:{other} weight 100
backend hashed
  balance source
  server primary 127.0.0.1:{primary} weight 100
backend by-cookie
  balance roundrobin
  cookie SRV insert
  server primary 127.0.0.1:{primary} weight 100 cookie p
backend by_table
  balance roundrobin
  stick-table type ip size 1k
  stick on src
  server primary 127.0.0.1:{primary} weight 100
frontend stand_in_primary
  bind 127.0.0.1:{primary}
  http-request return status 200 content-type text/plain string primary
frontend stand_in_other
  bind 127.0.0.1:{other}
  http-request return status 200 content-type text/plain string other
frontend stand_in_shadow
  bind 127.0.0.1:{shadow}
  http-request return status 500 content-type text/plain string failed if {{ path_beg /err }}
  http-request return status 200 content-type text/plain string shadow
"
    )
}

fn client_load(port: u16, methods: &[&str], path: &str, requests: usize) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); methods.len()];
    let mut connection = None;
    for request in 0..requests {
        let place = request % methods.len();
        let stream = connection.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        let (answer, kept) = ask(stream, methods[place], path);
        *tallies[place].0.entry(answer).or_default() += 1;
        connection = kept;
    }
    tallies
}

/// One request; gives the connection back where it goes on.
fn ask(
    mut stream: BufReader<TcpStream>,
    method: &str,
    path: &str,
) -> (String, Option<BufReader<TcpStream>>) {
    // What may have a body says that it has none.
    let body = if method == "GET" {
        ""
    } else {
        "Content-Length: 0\r\n"
    };
    stream
        .get_mut()
        .write_all(format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n{body}\r\n").as_bytes())
        .unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or("closed").to_owned();
    let mut length = 0;
    let mut closes = status == "closed";
    loop {
        line.clear();
        if stream.read_line(&mut line).unwrap() <= 2 {
            break;
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        closes |= header.starts_with("connection: close");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let answer = if status == "200" {
        String::from_utf8(body).unwrap()
    } else {
        status
    };
    (answer, (!closes).then_some(stream))
}

/// A server that answers checks at once and `/held` only when told to.
pub struct HeldServer {
    pub port: u16,
    asked: mpsc::Receiver<()>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl HeldServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = mpsc::channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let opened = Arc::clone(&gate);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tell, opened) = (tell.clone(), Arc::clone(&opened));
                thread::spawn(move || answer(&stream.unwrap(), &tell, &opened));
            }
        });
        Self { port, asked, gate }
    }

    /// Returns once a request for `/held` is here.
    pub fn await_request(&self) {
        self.asked.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    pub fn release(&self) {
        let (open, told) = &*self.gate;
        *open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_all();
    }
}

fn answer(stream: &TcpStream, tell: &mpsc::Sender<()>, gate: &(Mutex<bool>, Condvar)) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let mut line = String::new();
    // A check may close early; then there is nothing to answer.
    let Ok(_) = reader.read_line(&mut first) else {
        return;
    };
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    if first.contains("/held") {
        let Ok(()) = tell.send(()) else { return };
        let (open, told) = gate;
        let open = open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(told.wait_while(open, |open| !*open));
    }
    let _ = (&*stream)
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nheld");
}
