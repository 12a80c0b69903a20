//! From an accepted connection to a session: PRELOGIN, TLS as both sides want it, LOGIN7.

use super::{Output, Session, Settings, Tran};
use crate::engine::views::SessionRow;
use crate::error::SqlError;
use crate::proto::login::{self, Login};
use crate::proto::packet::{MESSAGE_MAX, Message, Reader, Writer, kind};
use crate::proto::prelogin::{self, encrypt};
use crate::proto::rows::COLLATION;
use crate::proto::tls::{Stream, Wrapped};
use crate::proto::token::{self, done};
use crate::server::{Shared, TlsMode};
use crate::sql::ast::Isolation;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;

/// The oldest version whose answers are written here, that of SQL Server 2005.
const TDS_7_2: u32 = 0x7200_0000;

type Halves = (Reader<ReadHalf<Stream>>, Writer<WriteHalf<Stream>>);

fn halves(s: Stream) -> Halves {
    let (r, w) = tokio::io::split(s);
    (Reader::new(r, login::LOGIN_MAX), Writer::new(w))
}

fn whole((r, w): Halves) -> Stream {
    r.into_inner().unsplit(w.into_inner())
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Serves one connection to its end.
///
/// # Errors
/// I/O and protocol errors, for the log.
pub async fn serve(shared: Arc<Shared>, tcp: TcpStream) -> io::Result<()> {
    let peer = tcp.peer_addr().map_or_else(|_| "unknown".to_owned(), |a| a.ip().to_string());
    let login = tokio::time::timeout(shared.login_time, handshake(&shared, tcp));
    let (login, (mut r, w)) = login.await.map_err(|_| bad("login took too long"))??;
    let Some(mut session) = admit(&shared, &login, w, &peer).await? else { return Ok(()) };
    r.message_max = MESSAGE_MAX;
    let result = session.requests(&mut r).await;
    // A transaction that the client left open ends here; dropping its handle would do the same, later.
    let _ = session.rollback_all().await;
    result
}

async fn handshake(shared: &Arc<Shared>, tcp: TcpStream) -> io::Result<(Login, Halves)> {
    let mut h = halves(Stream::Plain(tcp));
    let mut m = first(&mut h.0).await?;
    let mut login_only = false;
    if m.kind == kind::PRELOGIN {
        let p = prelogin::parse(&m.body).ok_or_else(|| bad("malformed PRELOGIN"))?;
        let wants = p.encryption != encrypt::NOT_SUPPORTED;
        let (answer, tls) = match (shared.tls, p.encryption) {
            (TlsMode::Off, _) => (encrypt::NOT_SUPPORTED, false),
            (TlsMode::On, encrypt::OFF) => (encrypt::OFF, true),
            (TlsMode::On, encrypt::NOT_SUPPORTED) => (encrypt::NOT_SUPPORTED, false),
            (TlsMode::Required, encrypt::OFF | encrypt::NOT_SUPPORTED) => (encrypt::REQUIRED, wants),
            _ => (encrypt::ON, true),
        };
        login_only = answer == encrypt::OFF;
        h.1.buf = prelogin::answer(answer);
        h.1.finish().await?;
        if shared.tls == TlsMode::Required && !tls {
            return Err(bad("the client cannot encrypt and encryption is required"));
        }
        if tls {
            let acceptor = shared.acceptor.as_ref().ok_or_else(|| bad("TLS is off"))?;
            let mut stream = acceptor.accept(Wrapped::new(whole(h).into_plain())).await?;
            stream.get_mut().0.wrapping = false;
            h = halves(Stream::Tls(Box::new(stream)));
        }
        m = first(&mut h.0).await?;
    }
    if m.kind != kind::LOGIN {
        return Err(bad("expected LOGIN7"));
    }
    let login = login::parse(&m.body).ok_or_else(|| bad("malformed LOGIN7"))?;
    if login_only {
        h = halves(Stream::Plain(whole(h).into_plain()));
    }
    Ok((login, h))
}

async fn first(r: &mut Reader<ReadHalf<Stream>>) -> io::Result<Message> {
    r.message().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Checks the login and answers it; `None` when it was refused.
async fn admit(shared: &Arc<Shared>, login: &Login, mut out: Writer<WriteHalf<Stream>>, peer: &str) -> io::Result<Option<Session>> {
    if login.version < TDS_7_2 {
        let e = SqlError::unsupported("TDS before 7.2");
        token::put_refusal_of_old_client(&mut out.buf, &e, &shared.name);
        out.finish().await?;
        return Ok(None);
    }
    let user = &login.user;
    let failed = SqlError::new(18_456, format!("Login failed for user '{user}'.")).class(14);
    let name = if login.database.is_empty() { "master" } else { &login.database };
    let mut errors = Vec::new();
    if login.integrated || !user.eq_ignore_ascii_case("sa") {
        shared.log.error(
            "Logon",
            18_456,
            14,
            5,
            &format!("Login failed for user '{user}'. Reason: Could not find a login matching the name provided. [CLIENT: {peer}]"),
        );
        errors.push(failed);
    } else if !shared.password_is(&login.password) {
        shared.log.error(
            "Logon",
            18_456,
            14,
            8,
            &format!("Login failed for user '{user}'. Reason: Password did not match that for the login provided. [CLIENT: {peer}]"),
        );
        errors.push(failed);
    } else if shared.store.database(name).is_none() {
        shared.log.error(
            "Logon",
            18_456,
            14,
            38,
            &format!("Login failed for user '{user}'. Reason: Failed to open the explicitly specified database '{name}'. [CLIENT: {peer}]"),
        );
        errors.push(SqlError::new(4060, format!("Cannot open database \"{name}\" requested by the login. The login failed.")).class(11));
        errors.push(failed);
    }
    if let (true, Some(db)) = (errors.is_empty(), shared.store.database(name)) {
        let row = SessionRow {
            spid: 0,
            login: "sa".to_owned(),
            host: login.host.clone(),
            program: login.app.clone(),
            login_time: shared.store.now(),
            database: db.id,
            isolation: Isolation::ReadCommitted,
        };
        let Some(spid) = shared.enter(row.clone()) else {
            refuse(shared, &mut out, &[shared.refuse_connection(peer)]).await?;
            return Ok(None);
        };
        let size = usize::try_from(login.packet_size).unwrap_or(0);
        let size = if size == 0 { crate::proto::packet::SIZE_DEFAULT } else { size.clamp(512, 32_767) };
        let buf = &mut out.buf;
        token::put_env_text(buf, 1, &db.name, "master");
        token::put_message(
            buf,
            &SqlError::new(5701, format!("Changed database context to '{}'.", db.name)).class(0).state(2),
            &shared.name,
        );
        token::put_env_bytes(buf, 7, &COLLATION, &[]);
        token::put_env_text(buf, 2, "us_english", "");
        token::put_message(buf, &SqlError::new(5703, "Changed language setting to us_english.").class(0), &shared.name);
        token::put_loginack(buf, login.version);
        token::put_env_text(buf, 4, &size.to_string(), &crate::proto::packet::SIZE_DEFAULT.to_string());
        token::put_done(buf, token::DONE, 0, 0, 0);
        out.finish().await?;
        out.size = size;
        return Ok(Some(Session {
            shared: shared.clone(),
            spid,
            row: SessionRow { spid, ..row },
            home: db.clone(),
            db,
            out: Output { w: out, held: None, in_proc: false, failed: false },
            tran: Tran::default(),
            set: Settings::default(),
            rowcount: 0,
            identity: None,
            error: 0,
            caught: vec![],
            cancel: Arc::default(),
            prepared: HashMap::new(),
            next_handle: 0,
            depth: 0,
            guarded: false,
            now: shared.store.now(),
        }));
    }
    refuse(shared, &mut out, &errors).await?;
    Ok(None)
}

async fn refuse(shared: &Shared, out: &mut Writer<WriteHalf<Stream>>, errors: &[SqlError]) -> io::Result<()> {
    for e in errors {
        token::put_message(&mut out.buf, e, &shared.name);
    }
    token::put_done(&mut out.buf, token::DONE, done::ERROR, 0, 0);
    out.finish().await
}
