//! Corrosion's own Rust client, as its users install it, against a server of the contract: queries,
//! transactions, live queries with `skip_rows` and `from`, updates, the pool, and what the client does by
//! itself when the server dies or is stopped under an open stream.
//!
//! ```text
//! rust-client ADDRESS DATABASE_FILE
//! ```
//!
//! The server must have the tables of `contractSchema` (test/contract/http.ts) and want no token: the released client
//! can't send one. When this program prints `kill` or `stop`, whoever runs it ends the server that way,
//! starts it again at the same address and answers with a line. It prints `ok` when all was as it should be.

use std::{env, net::SocketAddr, pin::pin, time::Duration};

use corro_api_types::{
    sqlite::ChangeType, ChangeId, ExecResult, QueryEvent, RowId, SqliteParam, SqliteValue,
    Statement, TypedNotifyEvent, TypedQueryEvent,
};
use corro_client::{
    sub::{SubscriptionStream, UpdatesStream},
    CorrosionApiClient, CorrosionClient, CorrosionPooledClient, Error,
};
use futures::{Stream, StreamExt};
use hickory_resolver::{net::runtime::TokioRuntimeProvider, Resolver};
use serde::Deserialize;
use tokio::{
    io::{stdin, AsyncBufReadExt, BufReader},
    time::timeout,
};

type Rows = Vec<SqliteValue>;
type Failure = Box<dyn std::error::Error>;

/// Keys of this program, so that it can run against a server that has been used before.
const FROM: i64 = 910_000_001;
const TO: i64 = 910_000_999;

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Deserialize)]
struct Row {
    id: i64,
    text: String,
}

fn sql(query: &str, params: Vec<SqliteParam>) -> Statement {
    Statement::WithParams(query.into(), params)
}

fn insert(id: i64, text: &str) -> Statement {
    sql(
        "INSERT INTO tests (id, text) VALUES (?, ?)",
        vec![id.into(), text.into()],
    )
}

fn cells(id: i64, text: &str) -> Rows {
    vec![SqliteValue::Integer(id), SqliteValue::Text(text.into())]
}

/// The next item of a stream, which must come in time and be no error.
async fn next<T, E>(stream: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> Result<T, Failure>
where
    E: std::error::Error + 'static,
{
    match timeout(DEADLINE, stream.next()).await {
        Err(_) => Err("nothing came in time".into()),
        Ok(None) => Err("the stream ended".into()),
        Ok(Some(item)) => Ok(item?),
    }
}

/// Asks whoever runs this program for something, and waits until it is done. The client goes on meanwhile.
async fn ask(what: &str) -> Result<(), Failure> {
    println!("{what}");
    let mut answer = String::new();
    BufReader::new(stdin()).read_line(&mut answer).await?;
    if answer.is_empty() {
        Err("nobody answers".into())
    } else {
        Ok(())
    }
}

async fn version(
    client: &CorrosionApiClient,
    statements: &[Statement],
) -> Result<Option<u64>, Failure> {
    let answer = client.execute(statements, None).await?;
    assert_eq!(answer.results.len(), statements.len());
    for result in &answer.results {
        assert!(matches!(result, ExecResult::Execute { .. }), "{result:?}");
    }
    assert!(answer.actor_id.is_some());
    Ok(answer.version)
}

async fn transactions(client: &CorrosionApiClient) -> Result<(), Failure> {
    let clear = sql(
        "DELETE FROM tests WHERE id BETWEEN ? AND ?",
        vec![FROM.into(), TO.into()],
    );
    version(client, &[clear]).await?;
    // Every form of a statement.
    let named = [
        (":id".to_string(), (FROM + 2).into()),
        (":text".to_string(), "named".into()),
    ];
    let verbose = Statement::Verbose {
        query: "INSERT INTO tests (id, text) VALUES (?, ?)".into(),
        params: Some(vec![(FROM + 3).into(), "verbose".into()]),
        named_params: None,
    };
    let first = version(
        client,
        &[
            insert(FROM, "list"),
            Statement::Simple(format!("INSERT INTO tests VALUES ({}, 'plain')", FROM + 1)),
            Statement::WithNamedParams(
                "INSERT INTO tests VALUES (:id, :text)".into(),
                named.into_iter().collect(),
            ),
            verbose,
        ],
    )
    .await?;
    let same = sql(
        "UPDATE tests SET text = ? WHERE id = ?",
        vec!["list".into(), FROM.into()],
    );
    assert_eq!(version(client, &[same]).await?, None);
    let second = version(client, &[insert(FROM + 4, "next")]).await?;
    assert_eq!(second, first.map(|before| before + 1));
    let refused = client
        .execute(
            &[insert(FROM + 5, "twice"), insert(FROM, "twice")],
            Some(10),
        )
        .await;
    match refused {
        Err(Error::ResponseError(why)) => {
            assert!(why.contains("UNIQUE constraint failed: tests.id"), "{why}")
        }
        other => panic!("a refused transaction: {other:?}"),
    }
    Ok(())
}

async fn queries(client: &CorrosionApiClient) -> Result<(), Failure> {
    let all = sql(
        "SELECT id, text FROM tests WHERE id BETWEEN ? AND ? ORDER BY id",
        vec![FROM.into(), TO.into()],
    );
    let mut stream = client.query(&all, None).await?;
    match next(&mut stream).await? {
        TypedQueryEvent::Columns(names) => assert_eq!(names, ["id".into(), "text".into()]),
        other => panic!("not columns: {other:?}"),
    }
    for (nth, text) in ["list", "plain", "named", "verbose", "next"]
        .iter()
        .enumerate()
    {
        let wanted: QueryEvent =
            TypedQueryEvent::Row(RowId(nth as u64 + 1), cells(FROM + nth as i64, text));
        assert_eq!(next(&mut stream).await?, wanted);
    }
    let end = next(&mut stream).await?;
    assert!(
        matches!(
            end,
            TypedQueryEvent::EndOfQuery {
                change_id: None,
                ..
            }
        ),
        "{end:?}"
    );
    assert!(stream.next().await.is_none());

    let one = sql("SELECT id, text FROM tests WHERE id = ?", vec![FROM.into()]);
    let typed = client
        .query_typed::<Row>(&one, Some(5))
        .await?
        .collect::<Vec<_>>()
        .await;
    let row = Row {
        id: FROM,
        text: "list".into(),
    };
    assert_eq!(
        *typed[1].as_ref().unwrap(),
        TypedQueryEvent::Row(RowId(1), row)
    );

    // Every kind of a value, there and back.
    let values = vec![
        SqliteValue::Null,
        SqliteValue::Integer(i64::MIN),
        SqliteValue::Integer(i64::MAX),
        SqliteValue::Real(corro_api_types::Real(1.0)),
        SqliteValue::Real(corro_api_types::Real(-2.5e-7)),
        SqliteValue::Text("é😀\n\u{1}".into()),
        SqliteValue::Blob(vec![0, 222, 173, 255].into()),
        SqliteValue::Blob(vec![].into()),
    ];
    let params = values.iter().cloned().map(SqliteParam::from).collect();
    let mut echo = client
        .query(&sql("SELECT ?, ?, ?, ?, ?, ?, ?, ?", params), None)
        .await?;
    next(&mut echo).await?;
    let wanted: QueryEvent = TypedQueryEvent::Row(RowId(1), values);
    assert_eq!(next(&mut echo).await?, wanted);

    for (statement, wanted) in [
        ("DELETE FROM tests", "statement is not readonly"),
        ("SELEC 1", "near \"SELEC\": syntax error"),
        ("SELECT 1; SELECT 2", "Multiple statements provided"),
    ] {
        match client.query(&statement.into(), None).await {
            Err(Error::ResponseError(why)) => assert!(why.starts_with(wanted), "{why}"),
            _ => panic!("{statement} was not refused"),
        }
    }
    let endless =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    let mut slow = client.query(&endless.into(), Some(1)).await?;
    next(&mut slow).await?;
    assert_eq!(
        next(&mut slow).await?,
        TypedQueryEvent::Error("interrupted".into())
    );
    Ok(())
}

async fn rows(stream: &mut SubscriptionStream<Rows>) -> Result<(Vec<Rows>, u64), Failure> {
    match next(stream).await? {
        TypedQueryEvent::Columns(_) => {}
        other => panic!("not columns: {other:?}"),
    }
    let mut found = Vec::new();
    loop {
        match next(stream).await? {
            TypedQueryEvent::Row(RowId(id), row) => {
                found.push(row);
                assert_eq!(id, found.len() as u64);
            }
            TypedQueryEvent::EndOfQuery {
                change_id: Some(ChangeId(id)),
                ..
            } => return Ok((found, id)),
            other => panic!("neither a row nor the end: {other:?}"),
        }
    }
}

async fn change(stream: &mut SubscriptionStream<Rows>) -> Result<(ChangeType, Rows, u64), Failure> {
    match next(stream).await? {
        TypedQueryEvent::Change(kind, _, row, ChangeId(id)) => Ok((kind, row, id)),
        other => panic!("not a change: {other:?}"),
    }
}

async fn subscriptions(client: &CorrosionApiClient) -> Result<(), Failure> {
    let watched = sql(
        "SELECT id, text FROM tests WHERE id BETWEEN ? AND ?",
        vec![FROM.into(), TO.into()],
    );
    let mut live = client.subscribe(&watched, false, None).await?;
    let (begun, mut last) = rows(&mut live).await?;
    assert_eq!(begun.len(), 5);

    for id in FROM + 10..FROM + 20 {
        version(client, &[insert(id, "more")]).await?;
        last += 1;
        assert_eq!(
            change(&mut live).await?,
            (ChangeType::Insert, cells(id, "more"), last)
        );
    }
    // One transaction: an update and a delete.
    let update = sql(
        "UPDATE tests SET text = 'new' WHERE id = ?",
        vec![(FROM + 10).into()],
    );
    let delete = sql("DELETE FROM tests WHERE id = ?", vec![(FROM + 11).into()]);
    version(client, &[update, delete]).await?;
    let mut two = [change(&mut live).await?, change(&mut live).await?];
    two.sort_by_key(|(_, row, _)| *row[0].as_integer().unwrap());
    assert_eq!(
        (two[0].0, &two[0].1),
        (ChangeType::Update, &cells(FROM + 10, "new"))
    );
    assert_eq!(
        (two[1].0, &two[1].1),
        (ChangeType::Delete, &cells(FROM + 11, "more"))
    );
    last += 2;

    // The same again shares it; from a change that is kept, by text and by id.
    let mut again = client
        .subscribe(&watched, false, Some(ChangeId(last - 3)))
        .await?;
    assert_eq!((again.id(), again.hash()), (live.id(), live.hash()));
    let mut by_id = client
        .subscription(live.id(), false, Some(ChangeId(last - 3)))
        .await?;
    for stream in [&mut again, &mut by_id] {
        for id in last - 2..=last {
            assert_eq!(change(stream).await?.2, id);
        }
    }
    let mut skipping = client.subscribe(&watched, true, None).await?;
    let mut typed = client.subscribe_typed::<Row>(&watched, true, None).await?;
    version(client, &[insert(FROM + 30, "all")]).await?;
    last += 1;
    for stream in [&mut live, &mut again, &mut by_id, &mut skipping] {
        assert_eq!(
            change(stream).await?,
            (ChangeType::Insert, cells(FROM + 30, "all"), last)
        );
    }
    match next(&mut typed).await? {
        TypedQueryEvent::Change(_, _, row, _) => assert_eq!(row.text, "all"),
        other => panic!("not a change: {other:?}"),
    }

    // Refused: a `from` of a query that nobody has asked, an id that nobody has, what is no SELECT.
    let unknown = sql("SELECT id FROM tests WHERE id = ?", vec![(TO - 1).into()]);
    let status = |result: Result<SubscriptionStream<Rows>, Error>| match result {
        Err(Error::UnexpectedStatusCode(status)) => status.as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 200,
    };
    assert_eq!(
        status(client.subscribe(&unknown, false, Some(ChangeId(0))).await),
        400
    );
    let nobody = "11111111-2222-4333-8444-555566667777".parse()?;
    assert_eq!(status(client.subscription(nobody, false, None).await), 404);
    assert_eq!(
        status(
            client
                .subscribe(&"DELETE FROM tests".into(), false, None)
                .await
        ),
        400
    );

    // The client takes streams up again by itself, if it knows where they were (not `skipping`, which had neither rows
    // nor a change when it began). Killed: it sees the connection break.
    ask("kill").await?;
    version(client, &[insert(FROM + 31, "after a kill")]).await?;
    last += 1;
    for stream in [&mut live, &mut again] {
        assert_eq!(
            change(stream).await?,
            (ChangeType::Insert, cells(FROM + 31, "after a kill"), last)
        );
    }
    // Stopped in an orderly way: the same.
    ask("stop").await?;
    version(client, &[insert(FROM + 32, "after a stop")]).await?;
    last += 1;
    for stream in [&mut live, &mut again] {
        assert_eq!(
            change(stream).await?,
            (ChangeType::Insert, cells(FROM + 32, "after a stop"), last)
        );
    }

    // A history that no longer reaches says so in a line that the client understands.
    let many = |from: i64| {
        let text = format!(
            "INSERT INTO tests WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < 799) SELECT x + {from}, '' FROM c"
        );
        Statement::Simple(text)
    };
    let none = sql(
        "DELETE FROM tests WHERE id >= ? AND id <= ?",
        vec![(FROM + 100).into(), TO.into()],
    );
    for round in 0..14 {
        let statement = if round % 2 == 0 {
            many(FROM + 100)
        } else {
            none.clone()
        };
        version(client, &[statement]).await?;
        // Before the next: two that come together may be told as one, which here would be nothing.
        for _ in 0..800 {
            change(&mut live).await?;
        }
    }
    let mut late = client
        .subscription(live.id(), false, Some(ChangeId(1)))
        .await?;
    match next(&mut late).await? {
        TypedQueryEvent::Error(why) => {
            assert!(
                why.starts_with("subscription already deleted older changes, min change id: "),
                "{why}"
            )
        }
        other => panic!("not an error: {other:?}"),
    }
    Ok(())
}

async fn updates(client: &CorrosionApiClient) -> Result<(), Failure> {
    let mut stream = client.updates("tests2").await?;
    let insert = sql(
        "INSERT OR IGNORE INTO tests2 (id, text) VALUES (?, 'x')",
        vec![FROM.into()],
    );
    let delete = sql("DELETE FROM tests2 WHERE id = ?", vec![FROM.into()]);
    version(client, std::slice::from_ref(&delete)).await?;
    version(client, &[insert]).await?;
    let key = vec![SqliteValue::Integer(FROM)];
    assert_eq!(
        next(&mut stream).await?,
        TypedNotifyEvent::Notify(ChangeType::Update, key.clone())
    );
    version(client, &[delete]).await?;
    assert_eq!(
        next(&mut stream).await?,
        TypedNotifyEvent::Notify(ChangeType::Delete, key)
    );
    let unknown: Result<UpdatesStream<Rows>, Error> = client.updates("nowhere").await;
    assert!(matches!(unknown, Err(Error::UnexpectedStatusCode(status)) if status.as_u16() == 400));
    Ok(())
}

/// The client that goes on to the next address when one doesn't answer.
async fn pool(address: SocketAddr) -> Result<(), Failure> {
    let resolver = Resolver::builder(TokioRuntimeProvider::default())?.build()?;
    // Nobody listens on the discard port.
    let addresses = vec!["127.0.0.1:9".to_string(), address.to_string()];
    let client = CorrosionPooledClient::new(addresses, Duration::from_secs(1), resolver);
    let query = "SELECT id, text FROM tests WHERE id = 910000001".into();
    assert!(client.query_typed::<Row>(&query, None).await.is_err());
    let mut stream = pin!(client.query_typed::<Row>(&query, None).await?);
    next(&mut stream).await?;
    assert!(matches!(next(&mut stream).await?, TypedQueryEvent::Row(..)));
    let mut live = client.subscribe_typed::<Row>(&query, false, None).await?;
    assert!(matches!(
        next(&mut live).await?,
        TypedQueryEvent::Columns(_)
    ));
    Ok(())
}

/// The client that opens the database file itself isn't served: the file is locked, and it says so.
async fn file(address: SocketAddr, path: &str) -> Result<(), Failure> {
    let client = CorrosionClient::new(address, path)?;
    let why = match client.pool().get().await {
        Err(error) => error.to_string(),
        Ok(connection) => connection
            .query_row("SELECT count(*) FROM tests", [], |row| row.get::<_, i64>(0))
            .expect_err("the database file can be read beside the agent")
            .to_string(),
    };
    assert!(why.contains("locked"), "{why}");
    // What it asks by HTTP works all the same.
    let mut stream = client.query(&"SELECT 1".into(), None).await?;
    next(&mut stream).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().collect();
    let address: SocketAddr = arguments[1].parse()?;
    let client = CorrosionApiClient::new(address)?;
    transactions(&client).await?;
    queries(&client).await?;
    subscriptions(&client).await?;
    updates(&client).await?;
    pool(address).await?;
    file(address, &arguments[2]).await?;
    println!("ok");
    Ok(())
}
