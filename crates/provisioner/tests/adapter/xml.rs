//! EC2's answers, as it writes them.

/// An answer to `action`.
pub(crate) fn answer(action: &str, inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>r</requestId>{inside}</{action}Response>\n"
    )
}

/// An error.
pub(crate) fn error(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
    )
}

fn items(inside: &[String]) -> String {
    inside.iter().map(|inside| format!("<item>{inside}</item>")).collect::<Vec<_>>().concat()
}

fn next(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("<nextToken>{token}</nextToken>") }
}

/// A page of `DescribeInstances`, all in one reservation.
pub(crate) fn instances(instances: &[String], token: &str) -> String {
    let set = items(instances);
    answer(
        "DescribeInstances",
        &format!(
            "<reservationSet><item><reservationId>r-1</reservationId>\
             <instancesSet>{set}</instancesSet></item></reservationSet>{}",
            next(token)
        ),
    )
}

/// A page of `DescribeInstances` without any.
pub(crate) fn no_instances() -> String {
    answer("DescribeInstances", "<reservationSet/>")
}

/// A page of `DescribeSpotInstanceRequests`.
pub(crate) fn spot_requests(requests: &[String], token: &str) -> String {
    let set = items(requests);
    answer(
        "DescribeSpotInstanceRequests",
        &format!("<spotInstanceRequestSet>{set}</spotInstanceRequestSet>{}", next(token)),
    )
}

/// Tags.
pub(crate) fn tags(tags: &[(&str, &str)]) -> String {
    let tags: Vec<String> =
        tags.iter().map(|(key, value)| format!("<key>{key}</key><value>{value}</value>")).collect();
    format!("<tagSet>{}</tagSet>", items(&tags))
}

/// An instance under key-name `k`, with `more` beside.
pub(crate) fn instance(id: &str, state: &str, more: &str) -> String {
    format!(
        "<instanceId>{id}</instanceId><imageId>ami-1</imageId>\
         <instanceState><code>16</code><name>{state}</name></instanceState><keyName>k</keyName>\
         <instanceType>c7g.large</instanceType><launchTime>2026-11-23T11:00:00.000Z</launchTime>\
         <placement><availabilityZone>us-west-2a</availabilityZone></placement>{more}"
    )
}

/// A spot request under key-name `k`, with `more` beside.
pub(crate) fn spot_request(id: &str, state: &str, more: &str) -> String {
    format!(
        "<spotInstanceRequestId>{id}</spotInstanceRequestId><spotPrice>0.031200</spotPrice>\
         <type>one-time</type><state>{state}</state><status><code>pending-evaluation</code>\
         <updateTime>2026-11-23T11:30:05.000Z</updateTime><message>Being evaluated.</message>\
         </status><launchSpecification><keyName>k</keyName><instanceType>c7g.large</instanceType>\
         <placement><availabilityZone>us-west-2a</availabilityZone></placement>\
         </launchSpecification><createTime>2026-11-23T11:30:00.000Z</createTime>{more}"
    )
}

/// The spot request id of an instance.
pub(crate) fn from_request(id: &str) -> String {
    format!("<spotInstanceRequestId>{id}</spotInstanceRequestId>")
}

/// A page of `DescribeSpotPriceHistory`.
pub(crate) fn spot_prices(prices: &[String], token: &str) -> String {
    let set = items(prices);
    answer(
        "DescribeSpotPriceHistory",
        // EC2 writes an empty token on the last page of this one.
        &format!("<spotPriceHistorySet>{set}</spotPriceHistorySet><nextToken>{token}</nextToken>"),
    )
}

/// A price, and since when it is in force.
pub(crate) fn spot_price(kind: &str, zone: &str, product: &str, price: &str, at: &str) -> String {
    format!(
        "<instanceType>{kind}</instanceType><productDescription>{product}</productDescription>\
         <spotPrice>{price}</spotPrice><timestamp>{at}</timestamp>\
         <availabilityZone>{zone}</availabilityZone>"
    )
}
