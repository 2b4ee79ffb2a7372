// Statements of a warehouse like that of TPC-H, 200 that differ in more than constants, and those of pgbench. Tests
// only.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace pga::collector {

inline constexpr char kWarehouse[] =
    "CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name text);"
    "CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name text, n_regionkey int);"
    "CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name text, s_nationkey int, s_acctbal numeric, s_comment "
    "text);"
    "CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name text, c_nationkey int, c_phone text, c_acctbal numeric, "
    "c_mktsegment text);"
    "CREATE TABLE part (p_partkey int PRIMARY KEY, p_name text, p_mfgr text, p_brand text, p_type text, p_size int, "
    "p_container text, p_retailprice numeric);"
    "CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric, PRIMARY KEY "
    "(ps_partkey, ps_suppkey));"
    "CREATE TABLE orders (o_orderkey int PRIMARY KEY, o_custkey int, o_orderstatus text, o_totalprice numeric, "
    "o_orderdate date, o_orderpriority text, o_comment text);"
    "CREATE TABLE lineitem (l_orderkey int, l_linenumber int, l_partkey int, l_suppkey int, l_quantity numeric, "
    "l_extendedprice numeric, l_discount numeric, l_tax numeric, l_returnflag text, l_linestatus text, l_shipdate "
    "date, "
    "l_commitdate date, l_receiptdate date, l_shipinstruct text, l_shipmode text, PRIMARY KEY (l_orderkey, "
    "l_linenumber));"
    "CREATE INDEX ON orders (o_custkey); CREATE INDEX ON lineitem (l_partkey, l_suppkey);"
    "CREATE INDEX ON orders (o_orderdate); CREATE INDEX ON lineitem (l_shipdate);"
    "INSERT INTO region SELECT g, 'region' || g FROM generate_series(0, 4) g;"
    "INSERT INTO nation SELECT g, 'nation' || g, g % 5 FROM generate_series(0, 24) g;"
    "INSERT INTO supplier SELECT g, 'supplier' || g, g % 25, g % 1000, 'comment' FROM generate_series(1, 50) g;"
    "INSERT INTO customer SELECT g, 'customer' || g, g % 25, (10 + g % 25)::text || '-555', g % 5000, "
    "'segment' || g % 5 FROM generate_series(1, 300) g;"
    "INSERT INTO part SELECT g, 'part ' || g, 'mfgr' || g % 5, 'brand' || g % 25, 'type ' || g % 20, g % 50, 'box' || "
    "g % 10, 900 + g % 100 FROM generate_series(1, 400) g;"
    "INSERT INTO partsupp SELECT g % 400 + 1, (g / 400) * 12 + 1 + g % 12, g % 1000, g % 100 FROM generate_series(0, "
    "1599) g;"
    "INSERT INTO orders SELECT g, g % 300 + 1, 'O', g % 9000, date '1995-01-01' + g % 1000, 'prio' || g % 5, 'c' FROM "
    "generate_series(1, 3000) g;"
    "INSERT INTO lineitem SELECT g / 3 + 1, g % 3, g % 400 + 1, g % 50 + 1, g % 50, g % 9000, 0.05, 0.02, 'R', 'F', "
    "date '1995-01-01' + g % 1000, date '1995-01-10' + g % 1000, date '1995-01-20' + g % 1000, 'COLLECT', 'AIR' || g % "
    "5 FROM generate_series(0, 8999) g;"
    "ANALYZE";

// @ is a number that differs by the form, so that constants do, and where it stands in a name, columns.
inline std::vector<std::string> WarehouseStatements() {
  const std::vector<std::string> forms = {
      "SELECT l_returnflag, l_linestatus, sum(#) AS total, sum(l_extendedprice * (1 - l_discount)) AS price, "
      "avg(l_tax), "
      "count(*) FROM lineitem WHERE l_shipdate <= date '1997-12-01' - interval '@' day GROUP BY l_returnflag, "
      "l_linestatus ORDER BY l_returnflag, l_linestatus",
      "SELECT s_acctbal, s_name, n_name, p_partkey, sum(#) FROM part, supplier, partsupp, nation, region, lineitem "
      "WHERE "
      "p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND l_partkey = p_partkey AND p_size = @ AND p_type LIKE '%1' "
      "AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'region1' AND ps_supplycost = (SELECT "
      "min(ps_supplycost) FROM partsupp, supplier WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey) GROUP BY 1, "
      "2, "
      "3, 4 ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100",
      "SELECT l_orderkey, sum(#) AS revenue, o_orderdate FROM customer, orders, lineitem WHERE c_mktsegment = "
      "'segment1' "
      "AND c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate < date '1996-03-15' AND l_shipdate > date "
      "'1995-03-15' GROUP BY l_orderkey, o_orderdate ORDER BY revenue DESC, o_orderdate LIMIT 10",
      "SELECT o_orderpriority, count(*) AS orders, (SELECT max(#) FROM lineitem) FROM orders WHERE o_orderdate >= date "
      "'1995-07-01' AND o_orderdate < date '1995-07-01' + interval '@' month AND EXISTS (SELECT * FROM lineitem WHERE "
      "l_orderkey = o_orderkey AND l_commitdate < l_receiptdate) GROUP BY o_orderpriority ORDER BY o_orderpriority",
      "SELECT n_name, sum(# * (1 - l_discount)) AS revenue FROM customer, orders, lineitem, supplier, nation, region "
      "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey "
      "AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'region@' AND o_orderdate >= date "
      "'1995-01-01' AND o_orderdate < date '1995-01-01' + interval '1' year GROUP BY n_name ORDER BY revenue DESC",
      "SELECT sum(# * l_discount) AS revenue FROM lineitem WHERE l_shipdate >= date '1995-01-01' AND l_shipdate < date "
      "'1995-01-01' + interval '1 year' AND l_discount BETWEEN 0.06 - 0.01 AND 0.06 + 0.01 AND l_quantity < @",
      "SELECT supp_nation, l_year, sum(volume) FROM (SELECT n1.n_name AS supp_nation, extract(year FROM l_shipdate) AS "
      "l_year, # AS volume FROM supplier, lineitem, orders, nation n1 WHERE s_suppkey = l_suppkey AND o_orderkey = "
      "l_orderkey AND s_nationkey = n1.n_nationkey AND n1.n_name = 'nation@' AND l_shipdate BETWEEN date '1995-01-01' "
      "AND date '1996-12-31') AS shipping GROUP BY supp_nation, l_year ORDER BY supp_nation, l_year",
      "SELECT o_year, sum(CASE WHEN nation = 'nation3' THEN volume ELSE 0 END) / nullif(sum(volume), 0) AS share FROM "
      "(SELECT extract(year FROM o_orderdate) AS o_year, # AS volume, n2.n_name AS nation FROM part, lineitem, orders, "
      "nation n2, supplier WHERE p_partkey = l_partkey AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey AND "
      "s_nationkey = n2.n_nationkey AND p_type = 'type @') AS all_nations GROUP BY o_year ORDER BY o_year",
      "SELECT nation, sum(amount) FROM (SELECT n_name AS nation, # * (1 - l_discount) - ps_supplycost * l_quantity AS "
      "amount FROM part, supplier, lineitem, partsupp, nation WHERE s_suppkey = l_suppkey AND ps_suppkey = l_suppkey "
      "AND "
      "ps_partkey = l_partkey AND p_partkey = l_partkey AND s_nationkey = n_nationkey AND p_name LIKE '%@%') AS profit "
      "GROUP BY nation ORDER BY nation",
      "SELECT c_custkey, c_name, sum(# * (1 - l_discount)) AS revenue, c_acctbal FROM customer, orders, lineitem WHERE "
      "c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate >= date '1995-10-01' AND l_returnflag = 'R' "
      "GROUP BY c_custkey, c_name, c_acctbal ORDER BY revenue DESC LIMIT 20 OFFSET @",
      "SELECT l_shipmode, sum(CASE WHEN o_orderpriority IN ('prio1', 'prio2') THEN # ELSE 0 END) AS high FROM orders, "
      "lineitem WHERE o_orderkey = l_orderkey AND l_shipmode IN ('AIR1', 'AIR2', 'AIR3') AND l_commitdate < "
      "l_receiptdate AND l_receiptdate >= timestamp '1995-01-01 00:00:00' AND l_receiptdate < date '1995-01-01' + "
      "interval '@ month' GROUP BY l_shipmode ORDER BY l_shipmode",
      "SELECT c_count, count(*) AS dist FROM (SELECT c_custkey, count(o_orderkey), max((SELECT max(#) FROM lineitem "
      "WHERE l_orderkey = o_orderkey)) FROM customer LEFT JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE "
      "'%@%' GROUP BY c_custkey) AS c_orders (c_custkey, c_count) GROUP BY c_count ORDER BY dist DESC, c_count DESC",
      "WITH revenue AS (SELECT l_suppkey AS supplier_no, sum(#) AS total FROM lineitem WHERE l_shipdate >= date "
      "'1995-01-01' + @ GROUP BY l_suppkey) SELECT s_suppkey, s_name, total FROM supplier, revenue WHERE s_suppkey = "
      "supplier_no AND total = (SELECT max(total) FROM revenue) ORDER BY s_suppkey",
      "SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey), (SELECT min(#) FROM lineitem) FROM partsupp, part "
      "WHERE p_partkey = ps_partkey AND p_brand <> 'brand@' AND p_type NOT LIKE 'type 1%' AND p_size IN (4, 9, 14, 19) "
      "AND ps_suppkey NOT IN (SELECT s_suppkey FROM supplier WHERE s_comment LIKE '%Complaints%') GROUP BY p_brand, "
      "p_type, p_size ORDER BY 4 DESC, p_brand",
      "SELECT sum(#) / 7.0 AS yearly FROM lineitem, part WHERE p_partkey = l_partkey AND p_brand = 'brand@' AND "
      "l_quantity < (SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)",
      "SELECT c_name, o_orderkey, o_totalprice, sum(#) FROM customer, orders, lineitem WHERE o_orderkey IN (SELECT "
      "l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > @) AND c_custkey = o_custkey AND "
      "o_orderkey "
      "= l_orderkey GROUP BY c_name, o_orderkey, o_totalprice ORDER BY o_totalprice DESC LIMIT 100",
      "SELECT sum(#) AS revenue FROM lineitem, part WHERE (p_partkey = l_partkey AND p_brand = 'brand@' AND l_quantity "
      ">= 1 AND l_quantity <= 1 + 10 AND p_size BETWEEN 1 AND 5) OR (p_partkey = l_partkey AND p_brand = 'brand2' AND "
      "p_container IN ('box1', 'box2'))",
      "SELECT s_name, count(*) FROM supplier, lineitem l1, orders WHERE s_suppkey = l1.l_suppkey AND o_orderkey = "
      "l1.l_orderkey AND # > @ AND EXISTS (SELECT * FROM lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND "
      "l2.l_suppkey <> l1.l_suppkey) GROUP BY s_name ORDER BY 2 DESC LIMIT 100",
      "SELECT substring(c_phone FROM 1 FOR 2) AS code, count(*), (SELECT max(#) FROM lineitem) FROM customer WHERE "
      "substring(c_phone FROM 1 FOR 2) IN ('13', '31', '23') AND c_acctbal > (SELECT avg(c_acctbal) FROM customer) AND "
      "NOT EXISTS (SELECT * FROM orders WHERE o_custkey = c_custkey AND o_totalprice > @) GROUP BY code ORDER BY code",
      "SELECT o_orderdate, sum(#) OVER (PARTITION BY o_custkey ORDER BY o_orderdate) FROM orders JOIN lineitem ON "
      "l_orderkey = o_orderkey WHERE o_custkey = @",
  };
  // What is summed: without the name of its table, because some forms give it another one.
  const std::vector<std::string> figures = {"l_quantity",
                                            "l_extendedprice",
                                            "l_tax",
                                            "l_discount",
                                            "l_quantity * l_tax",
                                            "l_extendedprice * l_tax",
                                            "l_extendedprice - l_quantity",
                                            "abs(l_quantity - l_tax)",
                                            "round(l_extendedprice, 1)",
                                            "coalesce(l_extendedprice, 0) * (1 + l_tax)"};
  std::vector<std::string> statements;
  for (const std::string& form : forms) {
    for (size_t i = 0; i < figures.size(); ++i) {
      std::string figure = figures[i];
      if (form.find("lineitem l1") != std::string::npos) {
        figure = absl::StrReplaceAll(figure, {{"l_", "l1.l_"}});
      }
      statements.push_back(absl::StrReplaceAll(form, {{"#", figure}, {"@", absl::StrCat(1 + i)}}));
    }
  }
  return statements;
}

inline constexpr char kPgbench[] =
    "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));"
    "CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));"
    "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));"
    "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));"
    "INSERT INTO pgbench_branches SELECT 1, 0; INSERT INTO pgbench_tellers SELECT g, 1, 0 FROM generate_series(1, 10) "
    "g;"
    "INSERT INTO pgbench_accounts SELECT g, 1, 0 FROM generate_series(1, 5000) g; ANALYZE";

inline std::vector<std::string> PgbenchStatements(int n) {
  return {absl::StrCat("UPDATE pgbench_accounts SET abalance = abalance + ", n, " WHERE aid = ", n),
          absl::StrCat("SELECT abalance FROM pgbench_accounts WHERE aid = ", n),
          absl::StrCat("UPDATE pgbench_tellers SET tbalance = tbalance + ", n, " WHERE tid = ", 1 + n % 10),
          absl::StrCat("UPDATE pgbench_branches SET bbalance = bbalance + ", n, " WHERE bid = 1"),
          absl::StrCat("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, ", n, ", ", n,
                       ", CURRENT_TIMESTAMP)")};
}

}  // namespace pga::collector
