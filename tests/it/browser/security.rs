//! Attacks: texts that contain script, and forms of other sites.

use reqwest::Method;
use serde_json::json;
use tests::World;

use super::Window;

/// Texts that would have an effect if a page did not escape them: each calls `hit()` or changes the document.
const CORPUS: &str = include_str!("xss.txt");

#[tokio::test(flavor = "multi_thread")]
async fn text_of_an_author_is_never_executed() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("mallory").await;
    let texts: Vec<&str> = CORPUS.lines().filter(|line| !line.is_empty()).collect();
    assert!(texts.len() >= 60, "the corpus is whole");
    let window = Window::open().await;
    let watch = "window.hits = []; window.hit = (what) => window.hits.push(what); window.alert = hit; \
                 window.confirm = hit; window.prompt = hit;";
    window.cdp("Page.addScriptToEvaluateOnNewDocument", json!({"source": watch})).await;
    // Each text alone, also as a title, and all of them together.
    let all = texts.join("\n\n");
    let blogs =
        texts.iter().map(|text| ((*text).to_owned(), (*text).to_owned())).chain([("All".to_owned(), all)]);
    for (title, body) in blogs {
        let title: String = title.chars().filter(|letter| !letter.is_control()).take(190).collect();
        let blog = json!({"title": format!("t {title}"), "body": body, "publish": true});
        let (status, blog) = api.send(Method::POST, "/v1/blogs", Some(&token), blog).await;
        assert_eq!(status, 201, "{blog}");
        window.go(&format!("http://{}/b/{}", api.address, blog["slug"].as_str().unwrap())).await;
        window.loaded().await;
        assert_eq!(window.js("[...hits]").await, json!([]), "{body}");
        assert_eq!(window.js(&format!("(() => {{ {MORE_THAN_TEXT} }})()")).await, json!([]), "{body}");
        assert_eq!(
            window.js("document.title").await,
            format!("t {} · Commonplace", title.trim()).replace("t  ", "t "),
            "{title}"
        );
        // Links are not clicked; none of them has a script address.
        window.js("document.querySelectorAll('.prose a').forEach((a) => a.protocol)").await;
    }
    // Titles are also in lists.
    for list in ["/", "/a/mallory"] {
        window.go(&format!("http://{}{list}", api.address)).await;
        assert_eq!(window.js("[...hits]").await, json!([]));
        assert_eq!(window.js(&format!("(() => {{ {MORE_THAN_TEXT} }})()")).await, json!([]));
    }
    // The browser reports no violation of the policy either: there was no script to block.
    window.close(&[]).await;
    api.stop().await;
}

/// Elements in the page that an author's text must not create.
const MORE_THAN_TEXT: &str = "
const wrong = [];
for (const one of document.querySelectorAll('main *, head *')) {
  const ours = one.closest('head') && ['META', 'TITLE', 'LINK', 'SCRIPT'].includes(one.tagName);
  if (!ours && ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'IMG', 'SVG', 'MATH', 'STYLE', 'LINK', 'META', 'BASE', 'VIDEO', 'AUDIO',
    'TEMPLATE', 'INPUT', 'MARQUEE'].includes(one.tagName.toUpperCase())) wrong.push(one.outerHTML);
  for (const name of one.getAttributeNames()) if (/^on|^style$|srcdoc/i.test(name)) wrong.push(one.outerHTML);
  if (one.href && !['http:', 'https:', 'mailto:'].includes(new URL(one.href).protocol)) wrong.push(one.outerHTML);
}
if (document.querySelectorAll('head script').length !== 1) wrong.push('another script');
return wrong;";

#[tokio::test(flavor = "multi_thread")]
async fn form_of_another_site_has_no_effect() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let (_, token) = api.account("ada").await;
    api.blog(&token, "Mine").await;
    let window = Window::open().await;
    window.go(&format!("http://{}/sign-in", api.address)).await;
    window.write("#handle", "ada").await;
    window.write("#password", "correct horse battery\u{e007}").await;
    window.until("location.pathname === '/'").await;
    assert_eq!(window.js("document.cookie").await, "", "the cookie is out of reach of scripts");
    for path in ["/b/mine/like", "/b/mine/delete", "/sign-out", "/write", "/b/mine/share"] {
        let form = format!(
            "<form method=post action=http://{}{path}><button name=channel value=link>x</button></form>",
            api.address
        );
        window.go(&format!("data:text/html,{form}")).await;
        window.submit("button").await;
        assert!(
            window.text("main").await.contains("sent from another site"),
            "{path}: {}",
            window.text("body").await
        );
    }
    window.go(&format!("http://{}/b/mine", api.address)).await;
    assert!(
        window.text("header.site").await.contains("Sign out"),
        "still signed in, and the blog is still there"
    );
    assert_eq!(window.text("form.like button").await, "Like");
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    assert_eq!(world.value::<i64>("select total_likes + total_shares from blogs.blog_counter", &[]).await, 0);
    // The cookie alone gives no access to the API.
    let session = window.driver.get_named_cookie("session").await.unwrap();
    let sent =
        api.request(Method::GET, "/v1/notifications").header("cookie", format!("session={}", session.value));
    assert_eq!(sent.send().await.unwrap().status(), 401);
    window.close(&["403 (Forbidden)"]).await;
    api.stop().await;
    worker.stop().await;
}
