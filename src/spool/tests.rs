//! What the spool promises, across crashes and damage.

use std::io::Write;

use super::*;

const ROOM: u64 = 1 << 30;

/// Everything that is left in `lane`, confirmed as it is read.
fn drain(spool: &Spool, lane: Lane) -> Vec<String> {
    let mut drained = Vec::new();
    while let Some(batch) = spool.read(lane).unwrap() {
        drained.extend(batch.records.iter().map(|(_, text)| text.clone()));
        spool.confirm(lane, &batch).unwrap();
    }
    drained
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("0")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn records_come_back_in_order_lane_by_lane_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    for number in 0..1_000 {
        let lane = if number % 10 == 0 { Lane::Replies } else { Lane::Statuses };
        spool.append(lane, 1_000 + number, &number.to_string()).await.unwrap();
    }
    let size = spool.size();
    assert_eq!((size.entries, size.oldest_ms), (1_000, Some(1_000)));
    let of_lane = |replies: bool| (0..1_000).filter(move |n| (n % 10 == 0) == replies).map(|n| n.to_string());
    assert_eq!(drain(&spool, Lane::Replies), of_lane(true).collect::<Vec<_>>());
    assert_eq!(drain(&spool, Lane::Statuses), of_lane(false).collect::<Vec<_>>());
    assert_eq!(spool.size(), Size::default());
    assert_eq!(files(folder.path()), ["lock"]);
    spool.append(Lane::Replies, 1, "again").await.unwrap();
    assert_eq!(drain(&spool, Lane::Replies), ["again"]);
}

#[tokio::test]
async fn what_is_not_confirmed_is_there_again_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    for number in 0..600 {
        spool.append(Lane::Statuses, number, &number.to_string()).await.unwrap();
    }
    let batch = spool.read(Lane::Statuses).unwrap().unwrap();
    spool.confirm(Lane::Statuses, &batch).unwrap();
    assert_eq!(spool.entries(Lane::Statuses), 600 - batch.records.len() as u64);
    // The lock goes with the process; everything else is as a crash leaves it.
    drop(spool);
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    let all: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    assert_eq!(spool.size().entries, 600);
    spool.append(Lane::Statuses, 1, "new").await.unwrap();
    let mut expected = all;
    expected.push("new".to_owned());
    assert_eq!(drain(&spool, Lane::Statuses), expected);
}

#[tokio::test]
async fn a_torn_record_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    spool.append(Lane::Replies, 1, "one").await.unwrap();
    spool.append(Lane::Replies, 2, "two").await.unwrap();
    drop(spool);
    let path = folder.path().join("0").join(segment::file_name(Lane::Replies, 1));
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let spool = Spool::open(folder.path(), ROOM).unwrap();
        spool.append(Lane::Replies, 3, "three").await.unwrap();
        let expected: &[&str] = if len < second { &["three"] } else { &["one", "three"] };
        assert_eq!(drain(&spool, Lane::Replies), expected, "{len}");
        assert_eq!(files(folder.path()), ["lock"], "{len}");
    }
}

#[tokio::test]
async fn what_is_damaged_is_passed_over_and_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    for text in ["one", "two", "three"] {
        spool.append(Lane::Replies, 1, text).await.unwrap();
    }
    drop(spool);
    let path = folder.path().join("0").join(segment::file_name(Lane::Replies, 1));
    let damaged = String::from_utf8(fs::read(&path).unwrap()).unwrap().replace("two", "tow");
    fs::write(&path, damaged).unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    let batch = spool.read(Lane::Replies).unwrap().unwrap();
    assert_eq!((batch.records.len(), batch.unreadable, batch.torn), (2, 1, false));
    assert_eq!(drain(&spool, Lane::Replies), ["one", "three"]);
    assert_eq!(files(folder.path()), ["lock", "replies-00000000000000000001.damaged"]);
}

#[tokio::test]
async fn a_full_spool_takes_nothing_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 100).unwrap();
    let text = "x".repeat(60);
    spool.append(Lane::Statuses, 1, &text).await.unwrap();
    assert!(matches!(spool.append(Lane::Statuses, 1, &text).await, Err(SpoolError::Full)));
    assert_eq!(drain(&spool, Lane::Statuses).len(), 1);
    spool.append(Lane::Statuses, 1, &text).await.unwrap();
}

#[tokio::test]
async fn an_unwritable_spool_says_so_and_recovers() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("spool");
    let spool = Spool::open(&folder, ROOM).unwrap();
    spool.append(Lane::Statuses, 1, "moved").await.unwrap();
    let aside = parent.path().join("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "a file in its place").unwrap();
    for _ in 0..3 {
        assert!(matches!(spool.append(Lane::Statuses, 1, "lost").await, Err(SpoolError::Unwritable(_))));
    }
    assert_eq!(spool.fault().map(|fault| fault.as_str()), Some("unwritable"));
    // Away with its folder, which cannot be made again: that is no reason to forget it.
    assert!(spool.read(Lane::Statuses).is_err());
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    spool.append(Lane::Statuses, 1, "kept").await.unwrap();
    assert_eq!(spool.fault(), None);
    assert_eq!(drain(&spool, Lane::Statuses), ["moved", "kept"]);
    assert_eq!((files(&folder), spool.lost()), (vec!["lock".to_owned()], 0));
}

#[tokio::test]
async fn a_folder_that_was_removed_is_made_again_and_held() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    let own = folder.path().join("0");
    for lane in Lane::ALL {
        spool.append(lane, 1, "removed").await.unwrap();
    }
    fs::remove_dir_all(&own).unwrap();
    // Into a file that is open still, and must not be written to any more.
    spool.append(Lane::Replies, 2, "kept").await.unwrap();
    assert_eq!(drain(&spool, Lane::Replies), ["kept"]);
    assert_eq!(drain(&spool, Lane::Statuses), [""; 0]);
    assert_eq!(spool.lost(), 2);
    // Nothing was written since: looked after.
    fs::remove_dir_all(&own).unwrap();
    spool.probe();
    assert_eq!((spool.fault(), files(folder.path())), (None, vec!["lock".to_owned()]));
    // And it is held: another process takes another one.
    let other = Spool::open(folder.path(), ROOM).unwrap();
    other.append(Lane::Replies, 3, "the other's").await.unwrap();
    assert!(folder.path().join("1/lock").exists());
    assert_eq!(spool.take_over().unwrap(), 0);
}

#[tokio::test]
async fn a_folder_that_another_process_has_by_now_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Spool::open(folder.path(), ROOM).unwrap();
    fs::remove_dir_all(folder.path().join("0")).unwrap();
    let second = Spool::open(folder.path(), ROOM).unwrap();
    assert!(folder.path().join("0/lock").exists() && !folder.path().join("1").exists());
    first.append(Lane::Replies, 1, "first").await.unwrap();
    second.append(Lane::Replies, 1, "second").await.unwrap();
    assert_eq!(drain(&first, Lane::Replies), ["first"]);
    assert_eq!(drain(&second, Lane::Replies), ["second"]);
    assert!(folder.path().join("1/lock").exists());
}

#[tokio::test]
async fn a_running_process_takes_over_what_a_dead_one_left_in_the_middle_of_its_own_writes() {
    let folder = tempfile::tempdir().unwrap();
    let heir = Spool::open(folder.path(), ROOM).unwrap();
    let dead = Spool::open(folder.path(), ROOM).unwrap();
    heir.append(Lane::Replies, 5, "own").await.unwrap();
    for (number, lane) in [(1, Lane::Replies), (2, Lane::Statuses), (3, Lane::Replies)] {
        dead.append(lane, number, &number.to_string()).await.unwrap();
    }
    assert_eq!(heir.take_over().unwrap(), 0, "it lives");
    drop(dead);
    assert_eq!(heir.take_over().unwrap(), 3);
    assert_eq!(heir.take_over().unwrap(), 0);
    heir.append(Lane::Replies, 6, "later").await.unwrap();
    assert_eq!(heir.size(), Size { entries: 5, bytes: heir.size().bytes, oldest_ms: Some(1) });
    assert_eq!(fs::read_dir(folder.path().join("1")).unwrap().count(), 1, "the lock alone");
    // The order outlives a crash.
    drop(heir);
    let heir = Spool::open(folder.path(), ROOM).unwrap();
    assert_eq!(drain(&heir, Lane::Replies), ["own", "1", "3", "later"]);
    assert_eq!(drain(&heir, Lane::Statuses), ["2"]);
}

/// Many who start, take over, write and end over one spool: every record is read once.
#[test]
fn takeovers_and_starts_at_the_same_time_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let read: Mutex<Vec<String>> = Mutex::default();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for process in 0..4 {
            let (folder, read) = (folder.path(), &read);
            scope.spawn(move || {
                for life in 0..15 {
                    let spool = Spool::open(folder, ROOM).unwrap();
                    for number in 0..3 {
                        let text = format!("{process} {life} {number}");
                        runtime().block_on(spool.append(Lane::Statuses, 1, &text)).unwrap();
                        spool.take_over().unwrap();
                    }
                    // One of two ends with all of it unread.
                    if life % 2 == 0 {
                        read.lock().unwrap().extend(drain(&spool, Lane::Statuses));
                    }
                }
            });
        }
    });
    let mut read = read.into_inner().unwrap();
    read.extend(drain(&Spool::open(folder.path(), ROOM).unwrap(), Lane::Statuses));
    read.sort();
    let whole = |process| (0..15).flat_map(move |life| (0..3).map(move |n| format!("{process} {life} {n}")));
    let mut expected: Vec<String> = (0..4).flat_map(whole).collect();
    expected.sort();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn processes_share_a_spool_and_inherit_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) =
        (Spool::open(folder.path(), ROOM).unwrap(), Spool::open(folder.path(), ROOM).unwrap());
    first.append(Lane::Replies, 1, "first").await.unwrap();
    second.append(Lane::Replies, 2, "second").await.unwrap();
    assert_eq!(drain(&first, Lane::Replies), ["first"]);
    first.append(Lane::Replies, 3, "third").await.unwrap();
    drop((first, second));
    let heir = Spool::open(folder.path(), ROOM).unwrap();
    assert_eq!(drain(&heir, Lane::Replies), ["third", "second"]);
}

#[tokio::test]
async fn many_writers_and_a_reader_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::open(folder.path(), ROOM).unwrap());
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let spool = spool.clone();
            tokio::spawn(async move {
                for number in 0..200 {
                    let text = (writer * 1_000 + number).to_string();
                    spool.append(Lane::Statuses, 1, &text).await.unwrap();
                }
            })
        })
        .collect();
    let mut drained = Vec::new();
    while !writers.iter().all(|writer| writer.is_finished()) || spool.size().entries > 0 {
        let spool = spool.clone();
        let read = tokio::task::spawn_blocking(move || drain(&spool, Lane::Statuses)).await.unwrap();
        drained.extend(read.into_iter().map(|text| text.parse::<u32>().unwrap()));
    }
    // Each writer's records in its own order, and each once.
    drained.sort_by_key(|number| number / 1_000);
    let expected: Vec<u32> = (0..8).flat_map(|writer| (0..200).map(move |n| writer * 1_000 + n)).collect();
    assert_eq!(drained, expected);
}

#[test]
fn a_spool_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    drop(Spool::open(&path, ROOM).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("0/lock"))), (0o700, 0o600));
    // Whatever else lies about is let be.
    fs::File::create(path.join("0/notes.txt")).unwrap().write_all(b"mine").unwrap();
    drop(Spool::open(&path, ROOM).unwrap());
    assert!(path.join("0/notes.txt").exists());
}

#[tokio::test]
async fn what_was_kept_for_a_store_is_taken_over_for_it_alone_or_for_one_that_stands_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = |stores: &[&str]| {
        let stores = stores.iter().map(|store| (*store).to_owned()).collect();
        Spool::open_for(stores, folder.path(), ROOM).unwrap()
    };
    let spool = Spool::open(folder.path(), ROOM).unwrap();
    spool.append(Lane::Replies, 1, "of an earlier version").await.unwrap();
    drop(spool);
    let a = open(&["a"]);
    assert_eq!(drain(&a, Lane::Replies), ["of an earlier version"]);
    let b = open(&["b"]);
    a.append(Lane::Replies, 2, "for a").await.unwrap();
    b.append(Lane::Replies, 3, "for b").await.unwrap();
    drop((a, b));
    assert_eq!(Spool::open(folder.path(), ROOM).unwrap().size(), Size::default());
    assert_eq!(open(&["c"]).size(), Size::default());
    assert_eq!(drain(&open(&["b"]), Lane::Replies), ["for b"]);
    let accepted = open(&["d", "a"]);
    assert_eq!(drain(&accepted, Lane::Replies), ["for a"]);
    accepted.append(Lane::Replies, 4, "for d").await.unwrap();
    drop(accepted);
    assert_eq!(open(&["a"]).size(), Size::default());
    assert_eq!(drain(&open(&["d"]), Lane::Replies), ["for d"]);
}

#[tokio::test]
async fn what_is_kept_for_a_store_is_kept_for_one_that_is_accepted_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let names = |stores: &[&str]| stores.iter().map(|store| (*store).to_owned()).collect::<Vec<_>>();
    let open = |stores: &[&str]| Spool::open_for(names(stores), folder.path(), ROOM).unwrap();
    let (first, second) = (open(&["a"]), open(&["b", "a"]));
    first.append(Lane::Replies, 1, "of the first").await.unwrap();
    second.append(Lane::Replies, 2, "of the second").await.unwrap();
    drop(second);
    assert_eq!(first.take_over().unwrap(), 0);
    for _ in 0..2 {
        first.keep_for(names(&["b", "a"])).unwrap();
    }
    assert_eq!(first.take_over().unwrap(), 1);
    drop(first);
    assert_eq!(open(&["a"]).size(), Size::default());
    assert_eq!(drain(&open(&["b"]), Lane::Replies), ["of the first", "of the second"]);
}
