// Each line that says so must be refused by the compiler.
import { connect } from 'pganalytics-client';

const client = connect({ url: 'http://127.0.0.1' });
await client.GET('/api/v1/nothing'); // wrong: no such path
await client.POST('/api/v1/sources'); // wrong: no such method
await client.GET('/api/v1/series', { params: { query: { hours: 'one' } } }); // wrong: text for a number
await client.POST('/api/v1/auth/login', { body: { username: 1 } }); // wrong: a number for text
const { data } = await client.GET('/api/v1/sources');
console.log(data?.sources[0]?.no_such_field); // wrong: no such field
console.log(data.count); // wrong: there may be no answer
